"""What `sight` learns to see: features of many looks at the tower's pictures, computed once.

    python -m demo.recipes.sight_pictures --checkpoints FOLDER --work FOLDER \
        --photographs FOLDER --drawings FOLDER [--kind global-mlp] [--count 20000]

FOLDER of `--work` receives `seen-KIND.safetensors`. The first rows are easy-VQA's 4,000 training
pictures as they are, in their own order, so that its questions can be asked; then come `--count`
looks from each shelf.

How finely the tower tells a picture decides how finely `sight` is taught to name it. The tower
knows the pictures it was taught with better than a visitor's; looks are random, which makes up for
some of that.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from demo.adapter.spec import Kind as ProjectionKind
from demo.files import replace_file
from demo.finetune.easy_vqa import pictures, questions
from demo.recipes.shelves import Drawn, Photographs, Shelf
from demo.recipes.sight_eyes import Eyes
from demo.recipes.sight_kinds import known_kinds
from demo.recipes.sight_lessons import Known, Medium, Sure
from demo.recipes.tower import Sources
from demo.recipes.vocabulary import Vocabulary
from demo.recipes.vqa import scenes
from demo.vision.media import Picture

# Probabilities of the true kind, and of its group's kinds together, from which a reply is as fine.
# At one half the finer word is right more often than not; below, the coarser one is.
FINE, COARSE = 0.5, 0.5
HELD_OUT = 0.03  # of a shelf's pictures, all looks at them
FIRST_HELD_OUT = 3_800  # of easy-VQA's, as for `shapes`
CHUNK = 250  # pictures at once
JUDGED = 500  # looks of a shelf that say how sharp probabilities are
PLAINER = 4  # scenes are shown so many times less often
MEDIA: tuple[Medium, ...] = ("scene", "photo", "drawing")  # as `Seen.medium` numbers them
UNKNOWN = -1  # the kind of a scene whose questions do not give it away


@dataclass(frozen=True)
class Seen:
    """Looks at pictures, and what the tower makes of them; all rows in one order.

    Attributes:
        features: (N, S) fp16; the first rows are easy-VQA's training pictures by number.
        kinds: (N,) numbers of the vocabulary, -1 where it is not known.
        medium: (N,) numbers of `MEDIA`.
        fine: (N,) the tower's probability of the kind, 0 where it is not known.
        coarse: (N,) that of all kinds of its group together.
        held_out: (N,) bool, looks at pictures that are not learned from.
        facts: of the tower and the vocabulary: `kind`, `tower`, `fingerprint`, `preprocessing`,
            `token_width`, and `sources` by name.
    """

    features: Tensor
    kinds: Tensor
    medium: Tensor
    fine: Tensor
    coarse: Tensor
    held_out: Tensor
    facts: dict[str, Any]

    def sure(self, row: int) -> Sure:
        """How finely that look may be named."""
        if self.fine[row] >= FINE:
            return "fine"
        return "coarse" if self.coarse[row] >= COARSE else "unsure"

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        tensors = {k: v.contiguous() for k, v in vars(self).items() if k != "facts"}
        with replace_file(path) as unfinished:
            save_file(tensors, unfinished, {"facts": json.dumps(self.facts)})

    @classmethod
    def load(cls, path: Path) -> "Seen":
        """What `save` wrote."""
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
        return cls(**load_file(path), facts=facts)


def seen_path(work: Path, kind: ProjectionKind) -> Path:
    """Where the features for that kind of projection are kept."""
    return work / f"seen-{kind}.safetensors"


def learned_kinds(seen: Seen) -> tuple[Known, ...]:
    """`known_kinds` of the sources that these looks came from."""
    used = seen.facts["sources"]
    # Only whether there is a folder matters to a vocabulary.
    photographs, drawings = (Path() if used[n] else None for n in ("photographs", "drawings"))
    return known_kinds(Sources(used["easy_vqa"], photographs, drawings).vocabulary())


def known_rows(
    seen: Seen, kinds: Sequence[Known], second: Tensor | None = None
) -> list[Known | None]:
    """What is known of every look; None where it is nothing.

    Args:
        second: (N,) number of the kind that it may also be, -1 for none.
    """
    media = [MEDIA[number] for number in seen.medium.tolist()]
    also = [UNKNOWN] * len(media) if second is None else second.tolist()
    return [
        None
        if kind == UNKNOWN
        else replace(
            kinds[kind],
            medium=medium,
            sure=seen.sure(row),
            second=None if other == UNKNOWN else kinds[other],
        )
        for row, (kind, medium, other) in enumerate(
            zip(seen.kinds.tolist(), media, also, strict=True)
        )
    ]


@dataclass
class Heap:
    """Looks that come in, part by part."""

    parts: dict[str, list[Tensor]]

    def add(self, **columns: Tensor) -> None:
        for name, column in columns.items():
            self.parts.setdefault(name, []).append(column)

    def seen(self, facts: dict[str, Any]) -> Seen:
        return Seen(**{name: torch.cat(part) for name, part in self.parts.items()}, facts=facts)


def gather(
    eyes: Eyes, vocabulary: Vocabulary, shelves: Sequence[Shelf], count: int, seed: int
) -> Seen:
    """easy-VQA's training pictures as they are, then `count` looks from each shelf."""
    heap = Heap({})
    generator, tower = torch.Generator().manual_seed(seed), eyes.tower
    sharpness = _calibrate(eyes, shelves, generator)
    _add_scenes(heap, eyes, vocabulary)
    for shelf in shelves:
        medium, start = _medium(shelf), time.monotonic()
        total = len(shelf.kinds)
        hidden = _aside(total, medium, seed)
        looks = count // PLAINER if MEDIA[medium] == "scene" else count
        for rows in torch.randint(total, (looks,), generator=generator).split(CHUNK):
            views = shelf.views(rows, tower.preprocessing.size[0], generator)
            kinds = shelf.kinds[rows]
            _add(heap, eyes, shown(views), kinds, medium, hidden[rows])
        line = {"medium": MEDIA[medium], "looks": looks, "seconds": time.monotonic() - start}
        print(json.dumps(line), flush=True)
    facts = {
        "kind": eyes.projection,
        "tower": tower.name,
        "fingerprint": tower.fingerprint,
        "preprocessing": vars(tower.preprocessing),
        "token_width": getattr(tower, "token_width", 0),
        "sharpness": sharpness,
    }
    return heap.seen(facts)


def _calibrate(eyes: Eyes, shelves: Sequence[Shelf], generator: torch.Generator) -> float:
    """On as many looks at photographs as at drawings; scenes are sure anyway."""
    found, kinds = [], []
    for shelf in (shelf for shelf in shelves if MEDIA[_medium(shelf)] != "scene"):
        rows = torch.randint(len(shelf.kinds), (JUDGED,), generator=generator)
        found += shown(shelf.views(rows, eyes.tower.preprocessing.size[0], generator))
        kinds.append(shelf.kinds[rows])
    return eyes.calibrate(found, torch.cat(kinds)) if kinds else 1.0


def shown(views: Tensor) -> list[Picture]:
    """(B, 3, P, P) fp32 in 0 to 1, or uint8, as pictures."""
    if views.is_floating_point():
        views = (views * 255).round().to(torch.uint8)
    return [Picture(view.contiguous().numpy()) for view in views.permute(0, 2, 3, 1)]


def _add_scenes(heap: Heap, eyes: Eyes, vocabulary: Vocabulary) -> None:
    given = scenes(questions("train"))
    whole = pictures("train")
    names = [f"a {' '.join(given[row])}" if row in given else "" for row in range(len(whole))]
    numbers = [vocabulary.number(name) for name in names]
    kinds = torch.tensor([UNKNOWN if number is None else number for number in numbers])
    hidden = torch.arange(len(whole)) >= FIRST_HELD_OUT
    for rows in torch.arange(len(whole)).split(CHUNK):
        part = [whole[row] for row in rows.tolist()]
        _add(heap, eyes, part, kinds[rows], 0, hidden[rows])


def _add(
    heap: Heap, eyes: Eyes, part: Sequence[Picture], kinds: Tensor, medium: int, hidden: Tensor
) -> None:
    features, fine, coarse = eyes.look(part, kinds)
    media = torch.full((len(part),), medium)
    heap.add(features=features, kinds=kinds, medium=media, held_out=hidden)
    heap.add(fine=fine, coarse=coarse)


def _aside(total: int, medium: int, seed: int) -> Tensor:
    """(total,) bool, a shelf's pictures that are held out: of easy-VQA's, its last ones."""
    if MEDIA[medium] == "scene":
        # In the order of their numbers, a few left out: more than the last 200 of 4,000.
        return torch.arange(total) >= (1 - 2 * HELD_OUT) * total
    hidden = torch.zeros(total, dtype=torch.bool)
    hidden[random.Random(seed).sample(range(total), round(total * HELD_OUT))] = True
    return hidden


def _medium(shelf: Shelf) -> int:
    """A number of `MEDIA`."""
    return 1 if isinstance(shelf, Photographs) else 2 if isinstance(shelf, Drawn) else 0


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, compute and save."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.sight_pictures")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--checkpoints", type=Path, required=True, help="with the tower")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, help="folder with Tiny ImageNet's zips")
    parser.add_argument("--drawings", type=Path, help="folder that demo.recipes.drawings filled")
    parser.add_argument("--kind", choices=("global-mlp", "query-resampler"), default="global-mlp")
    parser.add_argument("--count", type=int, default=20_000, help="looks from each shelf")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    sources = Sources(True, given.photographs, given.drawings)
    vocabulary = sources.vocabulary()
    kind = cast(ProjectionKind, given.kind)
    eyes = Eyes(given.checkpoints, vocabulary, kind)
    seen = gather(eyes, vocabulary, sources.shelves(vocabulary), given.count, given.seed)
    used = {name: bool(value) for name, value in asdict(sources).items()}
    given.work.mkdir(parents=True, exist_ok=True)
    replace(seen, facts=seen.facts | {"sources": used}).save(seen_path(given.work, kind))


if __name__ == "__main__":
    main()
