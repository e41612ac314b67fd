"""Takes an adapter that sees through one tower over to another.

    python -m demo.recipes.carried ADAPTER --old FOLDER --new FOLDER --out FILE

What an adapter has learned lies in its prompts and gates; its projection only tells them what is in
the picture. So a projection for the other tower is fitted to say what the old one says of the same
pictures, easy-VQA's scenes for learning and shapes as the page's samples are drawn, and nothing is
taught anew: two minutes instead of the hour that `shapes.py` takes. Progress goes to the terminal,
a JSON line every ten epochs.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.file import load_adapter, save_adapter
from demo.adapter.spec import VisualSpec
from demo.adapter.visual import GlobalMLP
from demo.finetune.easy_vqa import pictures
from demo.recipes.samples import drawn_shapes
from demo.recipes.shapes import FIRST_HELD_OUT
from demo.settings import Settings
from demo.vision.clip import Tower
from demo.vision.media import Picture
from demo.vision.tower_files import LOCAL

BATCH, EPOCHS, RATE = 64, 60, 2e-3
SAID_EVERY = 10
EACH, SEED = 80, 3  # of each shape in each colour


def fitted(
    spec: VisualSpec, features: Tensor, aim: Tensor, learned: int, epochs: int = EPOCHS
) -> GlobalMLP:
    """A projection of features (N, S) that says nearly what `aim` (N, D) is.

    Args:
        learned: rows from here on are only judged by.
    """
    made = GlobalMLP(spec, aim.shape[1])
    made.measure(features[:learned])
    optimizer = torch.optim.AdamW(made.parameters(), RATE, weight_decay=0.01)
    steps = epochs * -(-learned // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(1, epochs + 1):
        for part in torch.randperm(learned).split(BATCH):
            loss = F.mse_loss(made(features[part]), aim[part]) / aim.var()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % SAID_EVERY == 0:
            with torch.no_grad():
                off = F.mse_loss(made(features[learned:]), aim[learned:]) / aim.var()
            print(json.dumps({"epoch": epoch, "loss": loss.item(), "held_out": off.item()}))
    return made


def smooth_shapes() -> list[Picture]:
    """Larger than easy-VQA's and with smooth edges, as a visitor's are: *auto* must know such."""
    return [Picture(rgb) for rgb in drawn_shapes(EACH, SEED)]


def carry(adapter: Path, old: Tower, new: Tower, out: Path) -> None:
    """Writes the adapter for the tower `new`.

    Raises:
        ValueError: it sees through another tower than `old`, or by another projection than an MLP.
        CheckpointError: the file is no adapter.
    """
    learned, passport = load_adapter(adapter)
    if passport.tower_fingerprint != old.fingerprint:
        raise ValueError(f"'{passport.name}' sees through {passport.tower}, not {old.name}")
    spec = learned.spec.visual
    if spec is None or (spec.kind, spec.slots) != ("global-mlp", 1):
        raise ValueError(f"'{passport.name}' has no MLP to one vector that could be carried over")
    scenes, smooth = pictures("train"), smooth_shapes()
    with torch.no_grad():
        aim = learned.visual(torch.cat([old.batch(smooth), old.batch(scenes)]))
    features = torch.cat([new.batch(smooth), new.batch(scenes)])
    visual = VisualSpec(features.shape[1], spec.hidden)
    torch.manual_seed(0)
    learned.visual = fitted(visual, features, aim, len(smooth) + FIRST_HELD_OUT)
    learned.spec = replace(learned.spec, visual=visual)
    changed = replace(
        passport,
        spec=learned.spec,
        tower=new.name,
        tower_fingerprint=new.fingerprint,
        preprocessing=vars(new.preprocessing),
        metrics={},  # those were of the other eyes
    )
    save_adapter(learned, changed, out)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.carried")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--old", type=Path, required=True, help="folder of its tower")
    parser.add_argument("--new", type=Path, required=True, help="folder of the other tower")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    torch.set_num_threads(Settings().threads)
    cpu = torch.device("cpu")
    old, new = (Tower.load(f"{LOCAL}{path}", cpu, path) for path in (given.old, given.new))
    carry(given.adapter, old, new, given.out)


if __name__ == "__main__":
    main()
