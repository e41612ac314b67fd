"""Mend what `sight` says of kinds, and which of them it takes for photographs, without training.

    python -m checkpoints.recipes.sight.amend --init FILE --before DRAWN --out FILE \\
        --drawings FOLDER --photographs FOLDER --clothes ZIP

A memory's values are states of the base, so what follows from another entry of `drawn.tsv`
("a fax machine, a vehicle") is known without a lesson: the states that the new words leave, less
those of the old ones, in the ranks that the file has. DRAWN is that table as it was.

Its keys are the tower's captions, which say what is shown and not how: one photograph in 23 had
the caption of a drawing. The tower's early features tell photographs from drawings, so keys of
either have a share of that. `--drawings` receives npm's packages, `--photographs` is a folder with
Tiny ImageNet's zips, and ZIP has photographs at full size, a folder a kind.
"""

import argparse
import io
import random
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from checkpoints.recipes.data.easy_vqa import drawn_shapes
from checkpoints.recipes.data.wordnet import read_kinds
from checkpoints.recipes.sight.looks import LEARNED, drawings_of
from checkpoints.recipes.sight.memory import NEXT, written_states
from checkpoints.recipes.sight.questions import Known, known_of, taxonomy, tower_kinds
from checkpoints.recipes.sight.train import save_with
from checkpoints.recipes.tower.looks import KERNELS, photographs_of
from checkpoints.recipes.tower.ood_probe import fit
from demo.adapter.adapter import KeyValueMemory, load_adapter
from demo.llama.base import choose_device, load_llama, open_base
from demo.llama.model import Llama
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.model_loading import load_tower
from demo.settings import Settings
from demo.vision.clip import Tower
from demo.vision.image import Picture
from demo.vision.ood import OODProbe

POSITIONS = 256
SHARE = 0.5  # of the log odds that a picture is a photograph, in each key
PRIOR = 2.0  # log odds more for a photograph: its pixels vary more than those fitted with
SIDES = (64, 96, 128, 192, 256)  # pixels of Tiny ImageNet's photographs
PHOTOGRAPHS, GROUNDS, SHAPES = 900, 60, 4  # SHAPES of each sort


def large_and_small(folder: Path, clothes: Path) -> list[list[Picture]]:
    """Give the full-size photographs of `clothes`, and Tiny ImageNet's in several sizes."""
    chance = random.Random(5)
    small = []
    for rgb in photographs_of(folder, PHOTOGRAPHS):
        side = chance.choice(SIDES)
        resized = Image.fromarray(rgb).resize((side, side), chance.choice(KERNELS))
        small.append(Picture(np.asarray(resized)))
    with zipfile.ZipFile(clothes) as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".jpg", ".png")))
        opened = (Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names)
        return [[Picture(np.asarray(image)) for image in opened], small]


def photograph_probe(
    memory: KeyValueMemory,
    tower: Tower,
    photographs: Sequence[list[Picture]],
    drawings: Sequence[list[Picture]],
) -> OODProbe:
    """Fit the log odds that a picture is a photograph, of features as the keys read them."""
    sides = []
    for groups in (photographs, drawings):
        features = [tower.batch_features(group) for group in groups]
        sides.append([(part - memory.mean) / memory.deviation for part in features])
    return fit(*sides)


@torch.no_grad()
def split_by_medium(memory: KeyValueMemory, probe: OODProbe, kinds: Sequence[Known]) -> None:
    """Add to each key, in place, its share of the log odds for its own medium.

    Args:
        memory: of K kinds.
        probe: the log odds that features as the keys read them are a photograph's.
        kinds: K of them, what a key stands for.
    """
    signs = torch.tensor([1.0 if kind.medium == "photo" else -1.0 for kind in kinds])
    memory.keys.weight.add_(SHARE * signs[:, None] * probe.weights)
    memory.keys.bias.add_(SHARE * signs * (probe.bias + PRIOR))


@torch.no_grad()
def retell(
    memory: KeyValueMemory,
    model: Llama,
    tokenizer: Tokenizer,
    layers: int,
    before: Sequence[Known],
    after: Sequence[Known],
) -> list[int]:
    """Change in place what is said of kinds that are told otherwise now; return which they are.

    Args:
        memory: of K kinds.
        model: the base, on the CPU.
        tokenizer: of the base.
        layers: of the adapter.
        before: what is known of K kinds as the memory tells it.
        after: the same as it should.
    """
    told = [[(kind.name, kind.group, kind.top) for kind in kinds] for kinds in (before, after)]
    other = [at for at, (old, new) in enumerate(zip(*told, strict=True)) if old != new]
    named = memory.slots - memory.attribute_slots
    said = [
        written_states(model, tokenizer, [kinds[at] for at in other], layers, named, sum(NEXT))
        for kinds in (before, after)
    ]
    change = (said[1] - said[0]).flatten(1).double()  # (k, named * D)
    outer = memory.outer.weight[: change.shape[1]].double()  # (named * D, h)
    memory.values.weight[:, other] += torch.linalg.lstsq(outer, change.T).solution.float()
    return other


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.sight.amend")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--init", type=Path, required=True, help="the adapter as it is")
    parser.add_argument("--before", type=Path, required=True, help="the table it was taught from")
    parser.add_argument("--drawings", type=Path, required=True, help="npm's packages go there")
    parser.add_argument("--photographs", type=Path, required=True, help="Tiny ImageNet's zips")
    parser.add_argument("--clothes", type=Path, required=True, help="photographs at full size")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Mend the file and write it under another name."""
    given, settings = parse(arguments), Settings()
    base = open_base(settings.llama, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device("cpu"), POSITIONS)
    adapter, passport = load_adapter(given.init)
    memory, after = adapter.visual, tower_kinds()
    before = list(after)
    first = next(at for at, kind in enumerate(after) if kind.medium == "drawing")
    old = [known_of(kind, "drawing") for kind in read_kinds(given.before)]
    before[first : first + len(old)] = old
    told = retell(memory, model, base.tokenizer, adapter.spec.layers, before, after)
    print(f"{len(told)} of {len(after)} kinds are told otherwise")
    grounds = list(photographs_of(given.photographs, GROUNDS))
    drawings = [drawings_of(given.drawings, style, grounds) for style in LEARNED]
    drawings.append([Picture(rgb) for rgb in drawn_shapes(SHAPES, 9)])
    photographs = large_and_small(given.photographs, given.clothes)
    probe = photograph_probe(memory, load_tower(settings), photographs, drawings)
    split_by_medium(memory, probe, after)
    save_with(memory, adapter, replace(passport, taxonomy=taxonomy(after)), given.out)


if __name__ == "__main__":
    main()
