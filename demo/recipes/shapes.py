"""Makes the adapter `shapes`: coloured shapes, learned from easy-VQA's training questions.

    python -m demo.recipes.shapes --stage first --out first.safetensors
    python -m demo.recipes.shapes --stage match --init first.safetensors --out match.safetensors

and so on through the stages `sure`, `turn`, `turn-more`, `all` and `words`, each on what the one
before has written. They go from what is seen to what is asked of it: naming shapes and colours;
whether what a question names is there; whether it is not there; and all questions, in people's
words too. Progress goes to the terminal, a JSON line every 20 steps. Pictures from number 3,800 on
are held out; the test part is not read here.
"""

import argparse
import hashlib
import json
import random
import time
from dataclasses import dataclass, replace
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
from demo.recipes.vqa import as_they_come, drawn, single
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
    """One stage: what it asks, and how it learns.

    Args:
        negated: the share of negated ones among drawn yes-or-no questions.
        as_they_come: the share of lessons that are not drawn so that yes and no are as likely.
        prompts: a layer from here on; more than before repeats those there are.
    """

    steps: int
    batch: int = 16
    negated: float = 0.0
    as_they_come: float = 0.0
    prompts: int = 10
    rate: float = 5e-3
    gate_rate: float = 5e-3
    visual_rate: float = 5e-4

    def examples(self, tokenizer: Tokenizer, rows: list[Question], seed: int) -> list[Example]:
        """As many as are learned, or all there are."""
        count = self.steps * self.batch
        usual = as_they_come(tokenizer, rows, seed) if self.as_they_come else []
        if self.as_they_come == 1:
            return usual
        taken = random.Random(seed).sample(usual, round(count * self.as_they_come))
        asked = drawn(rows, seed, count=count - len(taken), negated=self.negated)
        return taken + single(tokenizer, asked)


STAGES = {
    "first": Stage(400, 32, as_they_come=1),
    "match": Stage(300, gate_rate=1e-2, visual_rate=1e-3),
    "sure": Stage(500, prompts=20, rate=4e-3, gate_rate=8e-3, visual_rate=8e-4),
    "turn": Stage(700, negated=0.55, prompts=20, rate=3e-3, gate_rate=6e-3, visual_rate=4e-4),
    "turn-more": Stage(700, negated=0.75, prompts=20, rate=3e-3, gate_rate=6e-3, visual_rate=4e-4),
    "all": Stage(
        350,
        negated=0.6,
        as_they_come=0.5,
        prompts=20,
        rate=8e-4,
        gate_rate=1.5e-3,
        visual_rate=1e-4,
    ),
    "words": Stage(
        260,
        negated=0.6,
        as_they_come=0.7,
        prompts=20,
        rate=1.2e-3,
        gate_rate=2.4e-3,
        visual_rate=1.5e-4,
    ),
}


def widened(adapter: Adapter, prompts: int) -> Adapter:
    """The same adapter with more prompts a layer: those there are, repeated, with a little noise.

    Equal prompts share their attention, so it answers nearly as before, and has room to learn.
    """
    spec = replace(adapter.spec, prompts=prompts)
    wide = Adapter(spec)
    kept = {name: t for name, t in adapter.state_dict().items() if name != "prompts"}
    wide.load_state_dict(kept, strict=False)
    times = -(-prompts // adapter.spec.prompts)
    with torch.no_grad():
        repeated = adapter.prompts.repeat(1, times, 1)[:, :prompts]  # (L, K, D)
        wide.prompts.copy_(repeated + 0.3 * torch.randn_like(repeated))
    return wide


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
    if stage.prompts > adapter.spec.prompts:
        adapter = widened(adapter, stage.prompts)
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
