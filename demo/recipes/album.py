"""Pictures that a tower knows and pictures that it does not, as features of that tower.

Every kind of picture comes twice: to learn from ("train") and, others of it, to judge by ("test").
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from demo.finetune.lessons import Part
from demo.recipes.drawings import STYLES, UNSEEN
from demo.recipes.photographs import photographs
from demo.recipes.samples import drawn_shapes
from demo.recipes.shelves import Shelf, drawing_shelf, scene_shelf
from demo.recipes.sight_pictures import shown
from demo.recipes.strangers import Sort, made, scrambled
from demo.recipes.vocabulary import Vocabulary, drawing_kinds, shape_kinds
from demo.recipes.zero_shot import Exam, drawing_exam, photograph_exam, scene_exam
from demo.vision.clip import Tower
from demo.vision.media import Picture

SOURCES = ("scenes", "photographs", "drawings")
LOOKS = 3000  # at each source, to learn from
EVERY = 20  # of so many photographs one is taken: of 60,000, as many as looks
DRAWN: Mapping[Part, int] = {"train": 30, "test": 6}  # of each shape in each colour
STRANGERS: Mapping[Part, int] = {"train": 500, "test": 200}  # of each sort
SEEDS: Mapping[Part, int] = {"train": 1, "test": 2}
CHUNK = 250  # pictures at once

# A source's name, features (N, S) of its pictures, and whether the tower knows such.
Judged = tuple[str, Tensor, bool]


@dataclass(frozen=True)
class Album:
    """What one tower is shown.

    Attributes:
        photographs: folder with Tiny ImageNet's zips.
        drawings: folder that `demo.recipes.drawings` filled.
        known: which of `SOURCES` the tower was taught.
    """

    tower: Tower
    photographs: Path
    drawings: Path
    known: Sequence[str] = SOURCES

    def taught(self) -> list[Tensor]:
        """Features of training pictures, (N, S) of each source.

        Raises:
            FileNotFoundError: a folder holds no such pictures.
        """
        found: list[Tensor] = []
        shapes = Vocabulary(shape_kinds())
        if "scenes" in self.known:
            found.append(self._looks(scene_shelf(shapes, "train")))
            # easy-VQA's shapes are small and their edges rough; those of a visitor are not.
            found.append(self._features(_shapes("train")))
        if "photographs" in self.known:
            # Whole, as visitors show them. Fitted with the cut and partly hidden looks that towers
            # learn from, a probe keeps so many odd pictures that it lets strangers in.
            found.append(self._features(map(Picture, self._some("train", EVERY))))
        if "drawings" in self.known:
            grounds = torch.from_numpy(np.stack([*self._some("train", EVERY)])).permute(0, 3, 1, 2)
            kinds = Vocabulary(drawing_kinds())
            shelf = drawing_shelf(self.drawings, kinds, list(STYLES), grounds)
            found.append(self._looks(shelf))
        return found

    def exams(self) -> Iterator[Judged]:
        """Pictures that no tower learns from; those of a source it was not taught are strangers.

        Raises:
            FileNotFoundError: a folder holds no such pictures.
        """
        size, style = self.tower.preprocessing, next(iter(UNSEEN))
        exams: dict[str, Callable[[], Exam]] = {
            "scenes": lambda: scene_exam(size),
            "photographs": lambda: photograph_exam(self.photographs, size),
            "drawings": lambda: drawing_exam(self.drawings, style, size),
        }
        for source in SOURCES:
            exam = exams[source]()
            yield exam.name, self._features(shown(exam.pixels)), source in self.known
        yield "shapes we draw", self._features(_shapes("test")), "scenes" in self.known

    def strangers(self, sorts: Mapping[str, Sort], part: Part) -> dict[str, Tensor]:
        """Features of made-up pictures of nothing, by sort, (N, S) each."""
        count, seed = STRANGERS[part], SEEDS[part]
        return {
            name: self._features(map(Picture, made(sort, count, seed + len(SEEDS) * number)))
            for number, (name, sort) in enumerate(sorts.items())
        }

    def scrambled(self, part: Part) -> Tensor:
        """Features of photographs cut up and shuffled, (N, S)."""
        chance, every = np.random.default_rng(SEEDS[part]), 5 * EVERY if part == "train" else EVERY
        return self._features(Picture(scrambled(chance, rgb)) for rgb in self._some(part, every))

    def _some(self, part: Part, every: int) -> Iterator[np.ndarray]:
        found = islice(photographs(self.photographs)(part), 0, None, every)
        return (scene.rgb for scene in found)

    def _looks(self, shelf: Shelf) -> Tensor:
        generator = torch.Generator().manual_seed(SEEDS["train"])
        rows = torch.randint(len(shelf.kinds), (LOOKS,), generator=generator)
        side = self.tower.preprocessing.size[0]
        return torch.cat(
            [self._features(shown(shelf.views(r, side, generator))) for r in rows.split(CHUNK)]
        )

    def _features(self, pictures: Iterable[Picture]) -> Tensor:
        return self.tower.batch([*pictures])


def _shapes(part: Part) -> Iterator[Picture]:
    """In the manner of the page's samples, large and smooth."""
    return map(Picture, drawn_shapes(DRAWN[part], SEEDS[part]))
