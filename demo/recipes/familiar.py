"""Teach a tower what is unlike its pictures: `python -m demo.recipes.familiar`.

A probe is fitted to tell training pictures of the kinds that the tower was taught from strangers,
which are made on the spot. Its threshold is set by pictures of those kinds that nothing was taught
with: of each source the share `--keep` is to be called familiar. Then it is shown how many pictures
of nothing are called unfamiliar: others of the sorts it was fitted with, and of sorts it never met.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from demo.errors import DemoError
from demo.files import replace_file
from demo.recipes.album import SOURCES, Album
from demo.recipes.strangers import LEARNED, NEVER
from demo.vision.clip import Tower
from demo.vision.familiar import PROBE, Probe, save_probe
from demo.vision.tower_files import FOLDER, PASSPORT, file_digest

DECAY = 3e-3  # of the probe's weights; three times less or more changes little
ROUNDS = 100  # of L-BFGS; it is done in fewer


@dataclass(frozen=True)
class Verdict:
    """A source of pictures, their scores (B,), what is right, and whether the probe met such."""

    name: str
    scores: Tensor
    familiar: bool
    met: bool

    def share(self, threshold: float) -> float:
        """Of the pictures that are called what is right."""
        called = self.scores >= threshold
        return float((called if self.familiar else ~called).float().mean())

    def line(self, threshold: float) -> str:
        """As the command shows it."""
        word = "familiar" if self.familiar else "unfamiliar"
        told = f"{self.name}: {self.share(threshold):.1%} of {len(self.scores)} called {word}"
        return told if self.met else f"{told}; no such picture was fitted with"


def threshold_for(verdicts: Sequence[Verdict], keep: float) -> float:
    """The highest score at which of each familiar source the share `keep` stays familiar."""
    # "lower" is the score of a picture: between two of them a share would be missed by one.
    lowest = [
        torch.quantile(verdict.scores.double(), 1 - keep, interpolation="lower")
        for verdict in verdicts
        if verdict.familiar
    ]
    return float(min(lowest))


def fit(familiar: Sequence[Tensor], strange: Sequence[Tensor]) -> Probe:
    """Logistic regression that tells one from the other; each part is (N, S) features.

    Both sides count the same, and so does each part of a side, however many pictures it has.
    """
    features, sides = torch.cat([*familiar, *strange]), [(familiar, 1.0), (strange, 0.0)]
    truth = torch.cat([torch.full((len(p),), right) for side, right in sides for p in side])
    counts = torch.cat([torch.full((len(p),), 1 / len(p) / len(s)) for s, _ in sides for p in s])
    weights = torch.zeros(features.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        scores = features @ weights + bias
        wrong = F.binary_cross_entropy_with_logits(scores, truth, counts, reduction="sum")
        total = wrong / 2 + DECAY / 2 * weights.square().sum()
        total.backward()
        return total

    search.step(loss)
    return Probe(weights.detach(), bias.item())


def calibrate(album: Album, keep: float) -> tuple[Probe, list[str]]:
    """The tower's probe with its threshold as 0, and a line on what it calls each sort of picture.

    Raises:
        FileNotFoundError: a folder holds no such pictures.
    """
    strange = album.strangers(LEARNED, "train") | {"scrambled": album.scrambled("train")}
    probe = fit(album.taught(), [*strange.values()])
    verdicts = [
        Verdict(name, probe.scores(features), known, known)
        for name, features, known in album.exams()
    ]
    judged = album.strangers(LEARNED, "test") | {"scrambled": album.scrambled("test")}
    for found, met in ((judged, True), (album.strangers(NEVER, "test"), False)):
        verdicts += [Verdict(name, probe.scores(f), False, met) for name, f in found.items()]
    threshold = threshold_for(verdicts, keep)
    lines = [verdict.line(threshold) for verdict in verdicts]
    return replace(probe, bias=probe.bias - threshold), lines


def keep_probe(folder: Path, probe: Probe) -> None:
    """Writes the probe into a tower's folder and its digest into the passport.

    Broken off anywhere, the tower still opens: as before, or as one without a probe. A passport
    never vouches for a file that is not there yet.

    Raises:
        OSError: the folder cannot be read or written to.
    """
    passport = json.loads((folder / PASSPORT).read_text("utf-8"))
    if passport["sha256"].pop(PROBE, None):
        _write(folder, passport)
    save_probe(probe, folder / PROBE)
    passport["sha256"][PROBE] = file_digest(folder / PROBE)
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
    """Parse the command line, fit and calibrate, show what came of it, and write the files."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.familiar", description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True, help="holds the tower's folder")
    parser.add_argument("--photographs", type=Path, required=True, help="Tiny ImageNet's zips")
    parser.add_argument("--drawings", type=Path, required=True, help="of demo.recipes.drawings")
    parser.add_argument("--known", nargs="+", choices=SOURCES, default=SOURCES, help="to the tower")
    parser.add_argument("--keep", type=_share, default=0.93, help="share to call familiar, 0 to 1")
    given = parser.parse_args(arguments)
    try:
        tower = Tower.load(None, torch.device("cpu"), given.checkpoints)
        album = Album(tower, given.photographs, given.drawings, given.known)
        probe, lines = calibrate(album, given.keep)
        print("\n".join(lines))
        keep_probe(given.checkpoints / FOLDER, probe)
    except (OSError, DemoError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
