"""Teach the tower what is unlike its pictures: `python -m checkpoints.recipes.tower.ood_probe`.

A probe is fitted to tell the pictures that the tower was taught with from strangers, which are made
on the spot. Its threshold is set by pictures that it was not fitted to, among them every second of
the full-size photographs: of each source the share `--keep` is to be called familiar. Then it is
shown how many of the other photographs are, and how many pictures of nothing are called
unfamiliar: others of the sorts it was fitted with, and of sorts it never met.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints.recipes.data.easy_vqa import drawn_shapes
from checkpoints.recipes.data.out_of_distribution import LEARNED, NEVER, Sort, made
from checkpoints.recipes.tower.looks import Looks
from checkpoints.recipes.tower.zero_shot import drawing_exam, photograph_exam, scene_exam
from demo.atomic_file import replace_file
from demo.errors import DemoError
from demo.vision.clip import Tower, ood_scores
from demo.vision.clip_loading import FOLDER, PASSPORT, file_digest, own_tower
from demo.vision.image import Picture
from demo.vision.ood import PROBE_FILE, OODProbe, save_probe

STRANGERS = {"train": 30, "test": 20}  # of each sort
SEEDS = {"train": 1, "test": 2}
JUDGED = 100  # pictures of each known source
OWN = 16  # shapes as the page's samples are drawn, of each sort and colour, in the looks


@dataclass(frozen=True)
class ImageAlbum:
    """What the tower in a folder is shown.

    Attributes:
        looks: folder that `checkpoints.recipes.tower.looks` filled.
        photographs: folder with full-size photographs.
        drawings: folder that `checkpoints.recipes.data.drawings` filled.
    """

    tower: Tower
    folder: Path
    looks: Path
    photographs: Path
    drawings: Path

    def taught(self) -> list[Tensor]:
        """Return features of looks at pictures that the tower was taught with, by source."""
        names = ("scenes", "photographs", "drawings-*", "more-*")
        files = [sorted(self.looks.glob(f"{name}.safetensors")) for name in names]
        visual = own_tower(self.folder).visual
        return [
            self.tower.standardise(Looks.load(*some).features(visual)) for some in files if some
        ]

    def exams(self) -> dict[str, Tensor]:
        """Return features of pictures of what the tower knows, that nothing was fitted to."""
        photographs = photograph_exam(self.photographs).pictures
        return {
            "photographs, every second": self._features(photographs[::2]),
            "photographs, the others": self._features(photographs[1::2]),
            "drawings in another style": self._features(
                drawing_exam(self.drawings).pictures[:JUDGED]
            ),
            "scenes": self._features(scene_exam(JUDGED).pictures),
            "shapes we draw": self._features(map(Picture, drawn_shapes(4, SEEDS["test"]))),
        }

    def strangers(self, sorts: Mapping[str, Sort], part: str) -> dict[str, Tensor]:
        """Return features of made-up pictures of nothing, by sort, (N, S) each."""
        count, seed = STRANGERS[part], SEEDS[part]
        return {
            name: self._features(map(Picture, made(sort, count, seed + len(SEEDS) * number)))
            for number, (name, sort) in enumerate(sorts.items())
        }

    def _features(self, pictures: Iterable[Picture]) -> Tensor:
        return self.tower.batch_features([*pictures])


DECAY = 3e-3  # of the probe's weights; three times less or more changes little
ROUNDS = 100  # of L-BFGS; it is done in fewer


@dataclass(frozen=True)
class OODVerdict:
    """A source of pictures, their scores (B,), what is right, and whether the probe met such."""

    name: str
    scores: Tensor
    familiar: bool
    met: bool

    def share(self, threshold: float) -> float:
        """Return the share of pictures that are called what is right."""
        called = self.scores >= threshold
        return float((called if self.familiar else ~called).float().mean())

    def line(self, threshold: float) -> str:
        """Return the line that the command shows."""
        word = "familiar" if self.familiar else "unfamiliar"
        told = f"{self.name}: {self.share(threshold):.1%} of {len(self.scores)} called {word}"
        return told if self.met else f"{told}; no such picture was fitted with"


def threshold_for(verdicts: Sequence[OODVerdict], keep: float) -> float:
    """Return the highest score at which of each familiar source the share `keep` stays familiar."""
    # "lower" is the score of a picture: between two of them a share would be missed by one.
    lowest = [
        torch.quantile(verdict.scores.double(), 1 - keep, interpolation="lower")
        for verdict in verdicts
        if verdict.familiar
    ]
    return float(min(lowest))


def fit(familiar: Sequence[Tensor], strange: Sequence[Tensor]) -> OODProbe:
    """Fit a logistic regression that tells one from the other; each part is (N, S) features.

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
    return OODProbe(weights.detach(), bias.item())


def calibrate(album: ImageAlbum, keep: float) -> tuple[OODProbe, list[str]]:
    """Return the tower's probe with its threshold as 0, and a line on each sort of picture.

    Raises:
        FileNotFoundError: a folder holds no such pictures.
    """
    probe = fit(album.taught(), [*album.strangers(LEARNED, "train").values()])
    verdicts = [
        OODVerdict(name, ood_scores(probe, features), True, "others" not in name)
        for name, features in album.exams().items()
    ]
    for sorts, met in ((LEARNED, True), (NEVER, False)):
        found = album.strangers(sorts, "test")
        verdicts += [
            OODVerdict(name, ood_scores(probe, f), False, met) for name, f in found.items()
        ]
    threshold = threshold_for([v for v in verdicts if v.met], keep)
    lines = [verdict.line(threshold) for verdict in verdicts]
    return replace(probe, bias=probe.bias - threshold), lines


def keep_probe(folder: Path, probe: OODProbe) -> None:
    """Write the probe into a tower's folder and its digest into the passport.

    Broken off anywhere, the tower still opens: as before, or as one without a probe. A passport
    never vouches for a file that is not there yet.

    Raises:
        OSError: the folder cannot be read or written to.
    """
    passport = json.loads((folder / PASSPORT).read_text("utf-8"))
    if passport["sha256"].pop(PROBE_FILE, None):
        _write(folder, passport)
    save_probe(probe, folder / PROBE_FILE)
    passport["sha256"][PROBE_FILE] = file_digest(folder / PROBE_FILE)
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
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.tower.ood_probe")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--checkpoints", type=Path, required=True, help="holds the tower's folder")
    parser.add_argument("--looks", type=Path, required=True, help="of ...recipes.tower.looks")
    parser.add_argument("--photographs", type=Path, required=True, help="full-size photographs")
    parser.add_argument("--drawings", type=Path, required=True, help="of ...recipes.data.drawings")
    parser.add_argument("--keep", type=_share, default=0.96, help="share to call familiar, 0 to 1")
    given = parser.parse_args(arguments)
    try:
        tower = Tower.load(None, torch.device("cpu"), given.checkpoints)
        album = ImageAlbum(
            tower, given.checkpoints / FOLDER, given.looks, given.photographs, given.drawings
        )
        probe, lines = calibrate(album, given.keep)
        print("\n".join(lines))
        keep_probe(given.checkpoints / FOLDER, probe)
    except (OSError, DemoError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
