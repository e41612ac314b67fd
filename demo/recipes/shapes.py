"""Makes the adapter `shapes`: coloured shapes, learned from easy-VQA's training questions.

    python -m demo.recipes.shapes --out checkpoints/adapters/shapes.safetensors

Progress goes to the terminal, one JSON line every 20 steps. Pictures from number 3,800 on are held
out and judged at the end; the test part is not read here.
"""

import argparse
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import save_adapter
from demo.adapter.passport import Passport
from demo.adapter.spec import AdapterSpec, VisualSpec
from demo.finetune.evaluate import exact
from demo.finetune.examples import template_fingerprint
from demo.finetune.trainer import TrainSettings, train
from demo.llama.base import Base, open_base
from demo.llama.model import Llama
from demo.models import choose_device, load_llama, load_tower
from demo.recipes.vqa import Question, curriculum, pictures, questions, single
from demo.settings import Settings
from demo.vision.clip import Tower

FIRST_HELD_OUT = 3_800
NAME = "shapes"
DESCRIPTION = "Sees one coloured shape on a plain ground: which shape, which colour, yes or no."


@dataclass(frozen=True)
class Recipe:
    """What was chosen for the shipped file."""

    steps: int = 400
    batch: int = 32
    layers: int = 16
    prompts: int = 10
    hidden: int = 256
    seed: int = 0


def teach(recipe: Recipe, base: Base, model: Llama, tower: Tower, out: Path) -> None:
    """Trains, judges on held-out pictures, and writes the file."""
    torch.manual_seed(recipe.seed)
    features = tower.batch(pictures("train"))  # (pictures, S)
    rows = questions("train")
    learned = [row for row in rows if row.picture < FIRST_HELD_OUT]
    visual = VisualSpec(tower.feature_size, recipe.hidden)
    spec = AdapterSpec.for_base(
        base.config, layers=recipe.layers, prompts=recipe.prompts, visual=visual
    )
    adapter = Adapter(spec)
    adapter.visual.measure(features[:FIRST_HELD_OUT])
    examples = curriculum(base.tokenizer, learned, recipe.seed)
    print(json.dumps({"parameters": spec.parameters, "examples": len(examples)}), flush=True)
    settings = TrainSettings(recipe.steps, recipe.batch, seed=recipe.seed)
    start = time.monotonic()
    for step in train(model, adapter, examples, features, settings):
        if step.step % 20 == 0 or step.step == 1:
            seconds = round(time.monotonic() - start, 1)
            print(json.dumps({"seconds": seconds, **vars(step)}), flush=True)
    held_out = [row for row in rows if row.picture >= FIRST_HELD_OUT]
    right = list(exact(model, adapter, single(base.tokenizer, held_out), features))
    accuracy = sum(right) / len(right)
    print(json.dumps({"held_out": len(right), "exact": accuracy}), flush=True)
    save_adapter(adapter, passport(recipe, base, tower, spec, learned, accuracy), out)


def passport(
    recipe: Recipe,
    base: Base,
    tower: Tower,
    spec: AdapterSpec,
    learned: list[Question],
    accuracy: float,
) -> Passport:
    """What the file says of itself."""
    text = "\n".join(f"{row.picture}\t{row.question}\t{row.answer}" for row in learned)
    return Passport(
        name=NAME,
        description=DESCRIPTION,
        base=base.name,
        base_fingerprint=base.fingerprint,
        spec=spec,
        tower=tower.name,
        tower_fingerprint=tower.fingerprint,
        preprocessing=vars(tower.preprocessing),
        template=template_fingerprint(base.tokenizer),
        data="easy-VQA training questions (MIT licence)",
        data_fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        examples=len(learned),
        metrics={"held_out_exact": round(accuracy, 4), "steps": recipe.steps},
        license="Apache-2.0",
    )


def main() -> None:
    """The command line."""
    defaults = Recipe()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    for name, value in vars(defaults).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    flags = vars(parser.parse_args())
    out = flags.pop("out")
    settings = Settings()
    torch.set_num_threads(settings.threads)
    base = open_base(None, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device(settings.device), positions=1024)
    teach(Recipe(**flags), base, model, load_tower(settings), out)


if __name__ == "__main__":
    main()
