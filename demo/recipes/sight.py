"""Makes the adapter `sight`: names what it sees, and answers simple questions about it.

    python -m demo.recipes.sight_pictures --work FOLDER ...
    python -m demo.recipes.sight --work FOLDER --stage reader --out reader.safetensors
    python -m demo.recipes.sight --work FOLDER --stage verdicts --init reader.safetensors --out FILE

Prompts and gates learn to answer from what a projection says (`sight_told.py`): names and kinds,
colours and shapes of scenes, refusals, and talk about other things. The projection is not taught:
it sees with the tower's own captions (`sight_memory.py`). The other projections, `--eyes`, learn to
say the same (`sight_fit.py`), and then, in the stage `eyes`, all of it learns together.
Progress goes to the terminal, a JSON line every 20 steps, with exact replies to held-out pictures
by sort every 100. Neither photographs of `val.zip` nor OpenMoji are read here. Where there is a GPU
it is taken: 4,000 steps of 64 questions take minutes there, and most of a day on two cores.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.adapter.file import save_adapter
from demo.adapter.passport import Passport
from demo.finetune.easy_vqa import questions
from demo.finetune.evaluate import exact
from demo.finetune.events import Finished, Step
from demo.finetune.examples import Example, template_fingerprint
from demo.finetune.lessons import Lesson
from demo.finetune.state import Course, State
from demo.finetune.train_settings import TrainSettings
from demo.finetune.trainer import teach
from demo.llama.base import Base, open_base
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from demo.models import choose_device, load_llama
from demo.recipes.sight_lessons import Known
from demo.recipes.sight_mix import Material, drawn_examples
from demo.recipes.sight_pictures import (
    FIRST_HELD_OUT,
    UNKNOWN,
    Seen,
    known_rows,
    learned_kinds,
    seen_path,
)
from demo.recipes.sight_stages import STAGES, Stage
from demo.recipes.sight_start import EYES, POOL, Recipe, opened
from demo.recipes.sight_talk import POSITIONS, rehearsed, unrelated_lessons
from demo.recipes.sight_told import rivals
from demo.settings import CHECKPOINTS, Settings
from demo.vision.tower_files import FOLDER

NAME = "sight"
DESCRIPTION = "Names what a picture shows, and answers yes-or-no, kind, colour and shape questions."
JUDGED = 40  # held-out questions of each sort
A_TEXT = 8  # questions for every text that is rehearsed
TOWER = CHECKPOINTS / FOLDER


def material(
    seen: Seen,
    kinds: Sequence[Known],
    unrelated: Sequence[Lesson],
    held_out: bool,
    second: Tensor | None = None,
) -> Material:
    """What may be asked: of the pictures that are learned from, or of the others."""
    known = known_rows(seen, kinds, second)
    aside = seen.held_out.tolist()
    known = [k if aside[row] is held_out else None for row, k in enumerate(known)]
    # What a scene shows is not known when its questions do not give it away.
    asked = [r for r in questions("train") if seen.kinds[r.picture] != UNKNOWN]
    rows = [r for r in asked if (r.picture >= FIRST_HELD_OUT) is held_out]
    return Material(known, tuple(kinds), rows, unrelated)


def compact(examples: Sequence[Example], features: Tensor) -> tuple[list[Example], Tensor]:
    """The same examples with only the features that they point to, (pictures, S) fp32."""
    rows = sorted({example.picture for example in examples if example.picture is not None})
    place = {row: at for at, row in enumerate(rows)}
    moved = [replace(example, picture=place[example.picture]) for example in examples]
    return moved, features[rows].float()


def learn(
    stage: Stage,
    recipe: Recipe,
    base: Base,
    model: Llama,
    adapter: Adapter,
    parts: tuple[Material, Material],
    features: Tensor,
    seconds: float | None = None,
    keep: float = 0.0,
) -> dict[str, float]:
    """Teaches one stage in place → exact replies to held-out questions by sort, 0 to 1.

    Args:
        parts: what is learned, and what is held out.
        features: (N, S) fp16, what both point to.
        seconds: stop after so many, however many steps are left.
        keep: this share of the numbers as they were, the rest as learned. Between the two a short
            stage gives most of what it brings and forgets less (arXiv 2109.01903).
    """
    before = [part.detach().clone() for part in adapter.parameters()]
    tokenizer, seed = base.tokenizer, recipe.seed
    examples = drawn_examples(
        tokenizer, parts[0], stage.mix, stage.steps * stage.batch, seed, pool=POOL
    )
    rows = [example.picture for example in examples if example.picture is not None]
    texts = rehearsed(tokenizer, parts[0].unrelated, rows[:POOL], seed)
    moved, shown = compact([*examples, *texts], features)
    course = Course(moved[: len(examples)], (), shown, moved[len(examples) :])
    samples = {
        sort: compact(drawn_examples(tokenizer, parts[1], only, JUDGED, 0), features)
        for sort, only in stage.mix.alone().items()
        if parts[1].has(sort)
    }
    settings = TrainSettings(
        stage.steps,
        stage.batch,
        stage.rate,
        stage.gate_rate,
        stage.visual_rate,
        rehearsed=stage.batch // A_TEXT,
        seed=seed,
    )
    start = time.monotonic()
    for event in teach(model, State(adapter, settings, course), course):
        if isinstance(event, Finished) and event.why == "diverged":
            raise ArithmeticError(f"the loss is not finite after step {event.step}")
        if not isinstance(event, Step):
            continue
        spent = time.monotonic() - start
        if event.step % 20 == 0:
            line = {**vars(event), "seconds": round(spent)}
            if event.step % 100 == 0:
                line["held_out"] = shares(model, adapter, samples)
            print(json.dumps(line), flush=True)
        if seconds is not None and spent > seconds:
            break
    with torch.no_grad():
        for part, old in zip(adapter.parameters(), before, strict=True):
            part.lerp_(old, keep)
    return shares(model, adapter, samples)


def learning(base: Base, device: torch.device) -> Llama:
    """The base to learn with. On a GPU its activations are not rounded to 8 bits either."""
    if device.type == "cpu":
        return load_llama(base, device, POSITIONS)
    torch.backends.cuda.matmul.allow_tf32 = True
    return load_llama(base, device, POSITIONS, Int8Linear(torch.float32))


def shares(
    model: Llama, adapter: Adapter, samples: dict[str, tuple[list[Example], Tensor]]
) -> dict[str, float]:
    """Exact replies by sort, 0 to 1. A hedge in other words than expected counts as wrong."""
    return {
        sort: round(sum(exact(model, adapter, *sample)) / len(sample[0]), 4)
        for sort, sample in samples.items()
    }


def passport(base: Base, seen: Seen, adapter: Adapter, found: dict[str, float]) -> Passport:
    """What the file says of itself."""
    facts = seen.facts
    return Passport(
        name=NAME,
        description=DESCRIPTION,
        base=base.name,
        base_fingerprint=base.fingerprint,
        spec=adapter.spec,
        tower=facts["tower"],
        tower_fingerprint=facts["fingerprint"],
        preprocessing=facts["preprocessing"],
        template=template_fingerprint(base.tokenizer),
        data="Questions made from labels of easy-VQA, Tiny ImageNet and emoji sets",
        examples=int((~seen.held_out).sum()),
        metrics={f"held_out_{sort}": share for sort, share in found.items()},
        license="Apache-2.0",
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.sight")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--work", type=Path, required=True, help="folder of sight_pictures")
    parser.add_argument("--tower", type=Path, default=TOWER, help="folder of the tower")
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--init", type=Path, help="what the stage before has written")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fit", action="store_true", help="teach another projection than a memory")
    parser.add_argument("--steps", type=int, help="other than the stage's own")
    parser.add_argument("--seconds", type=float, help="stop after so many; the rate has not fallen")
    parser.add_argument(
        "--keep", type=float, default=0.0, help="of the numbers as they were, 0 to 1"
    )
    parser.add_argument("--eyes", choices=EYES, default=Recipe.eyes)
    parser.add_argument("--prompts", type=int, default=Recipe.prompts, help="a layer")
    parser.add_argument("--hidden", type=int, default=Recipe.hidden)
    parser.add_argument("--seed", type=int, default=0, help="of weights, questions and order")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Teach one stage and write it."""
    given, settings = parse(arguments), Settings()
    stage = STAGES[given.stage]
    if given.steps:
        stage = replace(stage, steps=given.steps)
    recipe = Recipe(prompts=given.prompts, hidden=given.hidden, eyes=given.eyes, seed=given.seed)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(recipe.seed)
    base = open_base(None, settings.cache, lambda message, share: None)
    model = learning(base, choose_device(settings.device))
    seen = Seen.load(seen_path(given.work, recipe.kind))
    kinds = learned_kinds(seen)
    adapter, projection, seen = opened(
        stage, recipe, base, model, seen, kinds, given.tower, given.init, fitting=given.fit
    )
    talk = unrelated_lessons(given.work, base, settings)
    second = rivals(seen.features) if stage.told and recipe.seconds else None
    parts = tuple(material(seen, kinds, talk, held_out, second) for held_out in (False, True))
    adapter.to(model.device)
    found = learn(
        stage, recipe, base, model, adapter, parts, seen.features, given.seconds, given.keep
    )
    print(json.dumps({"held_out": found}), flush=True)
    adapter.to("cpu").visual = projection
    save_adapter(adapter, passport(base, seen, adapter, found), given.out)


if __name__ == "__main__":
    main()
