"""Makes the adapter `shapes`: coloured shapes, learned from easy-VQA's training questions.

    python -m demo.recipes.shapes --stage first --out first.safetensors
    python -m demo.recipes.shapes --stage match --init first.safetensors --out match.safetensors
    python -m demo.recipes.shapes --stage all --init match.safetensors --out shapes.safetensors

Three stages, from what is seen to what is asked of it: naming shapes and colours; whether what a
question names is there; and all questions together. Progress goes to the terminal, a JSON line
every 20 steps. Pictures from number 3,800 on are held out; the test part is not read here.
"""

import argparse
import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.adapter.file import load_adapter, save_adapter
from demo.adapter.passport import Passport
from demo.adapter.spec import AdapterSpec, VisualSpec
from demo.finetune.easy_vqa import Question, pictures, questions
from demo.finetune.evaluate import exact
from demo.finetune.examples import Example, template_fingerprint
from demo.finetune.trainer import TrainSettings, train
from demo.llama.base import Base, open_base
from demo.llama.model import Llama
from demo.llama.tokenizer import Tokenizer
from demo.models import choose_device, load_llama, load_tower
from demo.recipes.vqa import as_they_come, balanced, single
from demo.settings import Settings
from demo.vision.clip import Tower

FIRST_HELD_OUT = 3_800
NAME = "shapes"
DESCRIPTION = "Sees one coloured shape on a plain ground: which shape, which colour, yes or no."


@dataclass(frozen=True)
class Recipe:
    """What was chosen for the shipped file, the same in all stages."""

    layers: int = 16
    prompts: int = 10
    hidden: int = 256
    seed: int = 0


@dataclass(frozen=True)
class Stage:
    """One stage: how it learns, and `examples(tokenizer, rows, seed)`, what."""

    steps: int
    batch: int
    examples: Callable[[Tokenizer, list[Question], int], list[Example]]
    rate: float = 5e-3
    gate_rate: float = 5e-3
    visual_rate: float = 5e-4


def half_and_half(tokenizer: Tokenizer, rows: list[Question], seed: int) -> list[Example]:
    """Questions as they come, and as many that keep the eye on the picture."""
    looking = balanced(tokenizer, rows, seed, count=4_000, negated=False, words=0.4)
    return looking + random.Random(seed).sample(as_they_come(tokenizer, rows, seed), len(looking))


STAGES = {
    "first": Stage(400, 32, as_they_come),
    "match": Stage(
        steps=300,
        batch=16,
        examples=partial(balanced, count=6_000, negated=False, words=0.0),
        gate_rate=1e-2,
        visual_rate=1e-3,
    ),
    "all": Stage(
        steps=200,
        batch=16,
        examples=half_and_half,
        rate=3e-3,
        gate_rate=3e-3,
    ),
}


def teach(
    stage: Stage, recipe: Recipe, base: Base, model: Llama, tower: Tower, init: Path | None
) -> tuple[Adapter, Passport]:
    """Trains one stage and judges it on held-out pictures."""
    torch.manual_seed(recipe.seed)
    features = tower.batch(pictures("train"))  # (pictures, S)
    rows = questions("train")
    learned = [row for row in rows if row.picture < FIRST_HELD_OUT]
    held_out = [row for row in rows if row.picture >= FIRST_HELD_OUT]
    adapter = load_adapter(init)[0] if init else new(recipe, base, features[:FIRST_HELD_OUT])
    adapter.requires_grad_(True)
    examples = stage.examples(base.tokenizer, learned, recipe.seed)
    sample = single(base.tokenizer, random.Random(0).sample(held_out, 200))
    settings = TrainSettings(
        stage.steps,
        stage.batch,
        stage.rate,
        stage.gate_rate,
        stage.visual_rate,
        seed=recipe.seed,
    )
    start = time.monotonic()
    for step in train(model, adapter, examples, features, settings):
        if step.step % 20 == 0:
            line = {**vars(step), "seconds": round(time.monotonic() - start)}
            if step.step % 100 == 0:
                line["held_out"] = share(model, adapter, sample, features)
            print(json.dumps(line), flush=True)
    accuracy = share(model, adapter, single(base.tokenizer, held_out), features)
    print(json.dumps({"held_out": len(held_out), "exact": accuracy}), flush=True)
    return adapter, passport(base, tower, adapter.spec, learned, accuracy)


def new(recipe: Recipe, base: Base, features: Tensor) -> Adapter:
    """An adapter that has learned nothing, for a tower's features (pictures, S)."""
    visual = VisualSpec(features.shape[1], recipe.hidden)
    adapter = Adapter(
        AdapterSpec.for_base(
            base.config, layers=recipe.layers, prompts=recipe.prompts, visual=visual
        )
    )
    adapter.visual.measure(features)
    return adapter


def share(model: Llama, adapter: Adapter, examples: list[Example], features: Tensor) -> float:
    """Exact answers, 0 to 1."""
    return sum(exact(model, adapter, examples, features)) / len(examples)


def passport(
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
        metrics={"held_out_exact": round(accuracy, 4)},
        license="Apache-2.0",
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--init", type=Path, help="what the stage before has written")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="other than the stage's own")
    parser.add_argument("--seed", type=int, default=0, help="of weights, questions and order")
    args = parser.parse_args()
    stage = STAGES[args.stage]
    if args.steps:
        stage = replace(stage, steps=args.steps)
    settings = Settings()
    torch.set_num_threads(settings.threads)
    base = open_base(None, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device(settings.device), positions=1024)
    adapter, passed = teach(
        stage, Recipe(seed=args.seed), base, model, load_tower(settings), args.init
    )
    save_adapter(adapter, passed, args.out)


if __name__ == "__main__":
    main()
