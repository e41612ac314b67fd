"""Set when a tower calls a picture unfamiliar: `python -m demo.recipes.familiar`.

Pictures it was not taught with, but of kinds that it was, decide: of each source the share `--keep`
is to be called familiar. Then it is shown how many pictures of no such kind are called unfamiliar.
They are made on the spot: noise, gradients, rendered text, and photographs cut up and shuffled.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from demo.errors import DemoError
from demo.files import replace_file
from demo.recipes.drawings import UNSEEN
from demo.recipes.zero_shot import (
    drawing_exam,
    photograph_exam,
    scene_exam,
    vocabulary_embeddings,
)
from demo.vision.clip import Tower
from demo.vision.familiar import CAPTIONS, Captions, save_captions
from demo.vision.media import Picture
from demo.vision.tower_files import FOLDER, PASSPORT, file_digest

BATCH = 250
STRANGERS = 200  # pictures of each sort that no tower is taught
PIECES = 16  # a side, or a few more: of a photograph cut so small only colours are left
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Verdict:
    """A source of pictures, how near each is to a caption, (B,) cosines, and what is right."""

    name: str
    nearest: Tensor
    familiar: bool

    def share(self, threshold: float) -> float:
        """Of the pictures that are called what is right."""
        called = self.nearest >= threshold
        return float((called if self.familiar else ~called).float().mean())


def threshold_for(verdicts: Sequence[Verdict], keep: float) -> float:
    """The highest cosine at which of each familiar source the share `keep` stays familiar."""
    # "lower" is the cosine of a picture: between two of them a share would be missed by one.
    lowest = [
        torch.quantile(verdict.nearest.double(), 1 - keep, interpolation="lower")
        for verdict in verdicts
        if verdict.familiar
    ]
    return float(min(lowest))


def strangers(photographs: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Pictures of nothing that has a name, by sort, each (B, P, P, 3) uint8.

    Args:
        photographs: (B, P, P, 3) uint8, to be shuffled; they also say how large the others are.
    """
    chance, side = np.random.default_rng(seed), photographs.shape[1]
    return {
        "noise": np.stack([_noise(chance, side) for _ in range(STRANGERS)]),
        "gradients": np.stack([_gradient(chance, side) for _ in range(STRANGERS)]),
        "rendered text": np.stack([_text(chance, side) for _ in range(STRANGERS)]),
        "scrambled": np.stack([_scrambled(chance, rgb) for rgb in photographs]),
    }


def _noise(chance: np.random.Generator, side: int) -> np.ndarray:
    """Random pixels, of one to eight pixels' size."""
    grain = int(chance.choice([1, 2, 4, 8]))
    few = chance.integers(0, 256, (-(-side // grain),) * 2 + (3,), np.uint8)
    return few.repeat(grain, 0).repeat(grain, 1)[:side, :side]


def _gradient(chance: np.random.Generator, side: int) -> np.ndarray:
    """From one colour to another, in any direction."""
    angle = chance.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    share = (np.cos(angle) * x + np.sin(angle) * y) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    first, last = chance.uniform(0, 255, (2, 3))
    return (first + (last - first) * (share[..., None] + 1) / 2).round().astype(np.uint8)


def _text(chance: np.random.Generator, side: int) -> np.ndarray:
    """Dark lines of made-up words on light paper."""
    paper = Image.new("RGB", (side, side), tuple(chance.integers(200, 256, 3).tolist()))
    pen, size = ImageDraw.Draw(paper), int(chance.integers(max(6, side // 10), side // 4 + 7))
    ink = tuple(chance.integers(0, 80, 3).tolist())
    font = ImageFont.load_default(size)
    for top in range(0, side, size + 2):
        words = ["".join(chance.choice(list(LETTERS), chance.integers(2, 9))) for _ in range(6)]
        pen.text((2, top), " ".join(words), fill=ink, font=font)
    return np.asarray(paper)


def _scrambled(chance: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    """(P, P, 3) -> its pieces in any order; what is left of the edge by the cut is let go."""
    step = max(1, len(rgb) // PIECES)
    count = len(rgb) // step
    cut = rgb[: count * step, : count * step].reshape(count, step, count, step, 3)
    pieces = cut.swapaxes(1, 2).reshape(-1, step, step, 3)
    mixed = chance.permutation(pieces).reshape(count, count, step, step, 3)
    return mixed.swapaxes(1, 2).reshape(count * step, count * step, 3)


def judge(tower: Tower, captions: Captions, name: str, rgb: np.ndarray, familiar: bool) -> Verdict:
    """Looks at pictures (B, P, P, 3) uint8 as the program does."""
    parts = [rgb[start : start + BATCH] for start in range(0, len(rgb), BATCH)]
    found = [captions.nearest(tower.embeddings([Picture(p) for p in part])) for part in parts]
    return Verdict(name, torch.cat(found), familiar)


def calibrate(
    checkpoints: Path, photographs: Path, drawings: Path, keep: float
) -> tuple[Captions, list[Verdict]]:
    """The embedded tower's captions with their threshold, and what it calls familiar by it.

    Raises:
        FileNotFoundError: a folder holds no such pictures.
        CheckpointError: the tower cannot be opened.
    """
    tower = Tower.load(None, torch.device("cpu"), checkpoints)
    # Rounded as they are kept: the threshold has to hold for what is read back.
    captions = Captions(vocabulary_embeddings(checkpoints / FOLDER)[1].half(), 0.0)
    size = tower.preprocessing
    exams = [
        scene_exam(size),
        photograph_exam(photographs, size),
        drawing_exam(drawings, next(iter(UNSEEN)), size),
    ]
    shown = {exam.name: exam.pixels.permute(0, 2, 3, 1).numpy() for exam in exams}
    verdicts = [judge(tower, captions, name, rgb, True) for name, rgb in shown.items()]
    some = shown["photographs"]
    odd = strangers(some[:: max(1, len(some) // STRANGERS)])
    verdicts += [judge(tower, captions, name, rgb, False) for name, rgb in odd.items()]
    return replace(captions, threshold=threshold_for(verdicts, keep)), verdicts


def keep_captions(folder: Path, captions: Captions) -> None:
    """Writes the captions into a tower's folder and their digest into its passport.

    Broken off anywhere, the tower still opens: as before, or as one that keeps no captions. A
    passport never vouches for a file that is not there yet.

    Raises:
        OSError: the folder cannot be read or written to.
    """
    passport = json.loads((folder / PASSPORT).read_text("utf-8"))
    if passport["sha256"].pop(CAPTIONS, None):
        _write(folder, passport)
    save_captions(captions, folder / CAPTIONS)
    passport["sha256"][CAPTIONS] = file_digest(folder / CAPTIONS)
    _write(folder, passport)


def _write(folder: Path, passport: dict) -> None:
    with replace_file(folder / PASSPORT) as path:
        path.write_text(json.dumps(passport, indent=1) + "\n", "utf-8")


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise ValueError(text)
    return share


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, calibrate, show what came of it, and write the files."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.familiar", description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True, help="holds the tower's folder")
    parser.add_argument("--photographs", type=Path, required=True, help="folder with val.zip")
    parser.add_argument("--drawings", type=Path, required=True, help="of demo.recipes.drawings")
    parser.add_argument("--keep", type=_share, default=0.95, help="share to call familiar, 0 to 1")
    given = parser.parse_args(arguments)
    try:
        captions, verdicts = calibrate(
            given.checkpoints, given.photographs, given.drawings, given.keep
        )
        for verdict in verdicts:
            word = "familiar" if verdict.familiar else "unfamiliar"
            share, middle = verdict.share(captions.threshold), verdict.nearest.median()
            count = len(verdict.nearest)
            print(f"{verdict.name}: {share:.1%} of {count} called {word}, median {middle:.3f}")
        keep_captions(given.checkpoints / FOLDER, captions)
    except (OSError, DemoError) as error:
        parser.error(str(error))
    print(f"threshold {captions.threshold:.4f}, {len(captions.vectors)} captions")


if __name__ == "__main__":
    main()
