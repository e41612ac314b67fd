"""Make the adapter `sight`: names what it sees, and answers people's questions about it.

    python -m checkpoints.recipes.sight.train --init BEFORE.safetensors --out FILE \\
        [--llama MODEL] [--clip TOWER] [--steps N]

The projection is a memory with the tower's own captions as its keys and, as its values, the states
of the base that reads "The picture shows a king penguin, a bird, an animal." (`memory.py`). The
keys are not trained. Prompts, gates and values learn what to say, in `--steps` steps, from shares
of kinds as a tower tells them: sure of one, or torn between those that its own captions put close
together. No picture is needed, but where there is a file of real looks (`looks.py`) some questions
are about those. `--init` begins with what another file has learned, its values too where they are
of the same kinds; `--steps 0` keeps it.

`--llama` and `--clip` take any base and any tower with a text half, as the program's flags do: so
whoever has a larger base gives it sight with one command. Progress goes to the terminal, a JSON
line every 5 steps, and the file is written every 25, from where `--init` goes on. `--back 0.25`
goes back a quarter of the way at the end: what was known before is then kept better. Several
processes share the work, as `python -m torch.distributed.run --nproc_per_node 2` starts them: on a
CPU two of one thread each are faster than one of two.
"""

import argparse
import copy
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from checkpoints.recipes.sight.conversations import (
    OtherTalk,
    PictureTalk,
    ShownPicture,
    conversation,
    encoded,
)
from checkpoints.recipes.sight.memory import (
    COLOURED,
    NEXT,
    Captions,
    OracleProjection,
    open_gates,
    read_captions,
    remember,
    shares_of,
    sureness,
    targets,
)
from checkpoints.recipes.sight.people import Tree
from checkpoints.recipes.sight.questions import Known, caption, taxonomy, tower_kinds
from checkpoints.recipes.sight.talk import CUT
from demo.adapter.adapter import Adapter, load_adapter, save_adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.adapter.passport import Passport
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.examples import IGNORED, Example, template_fingerprint
from demo.finetune.train.config import TrainSettings
from demo.finetune.train.events import Finished, Step
from demo.finetune.train.loss import rehearsed_texts
from demo.finetune.train.state import TrainerState, TrainingSet
from demo.finetune.train.trainer import training_run
from demo.finetune.train.workers import Workers, join
from demo.llama.base import Base, choose_device, load_llama, open_base
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.model_loading import load_tower
from demo.settings import CHECKPOINTS, ROOT, Settings
from demo.vision.clip import BASIC_COLOURS, Tower
from demo.vision.clip_loading import FOLDER, LOCAL

NAME = "sight"
POSITIONS = 1024
ASIDES = ROOT / "demo" / "bench" / "asides.tsv"  # what the exam asks about other things
DESCRIPTION = "Names what a picture shows, and answers people's questions about it."
DATA = "Questions made from WordNet's tree, told as the tower's captions tell pictures apart"
SORTS = {
    "name": 0.24,
    "noun": 0.1,
    "kind": 0.04,
    "yes_no": 0.31,
    "either": 0.02,
    "colour": 0.1,
    "caption": 0.06,
    "scene": 0.03,
    "refusal": 0.07,
    "size": 0.03,
}
MEDIA = {"photo": 0.55, "drawing": 0.39, "scene": 0.06}
LOOKED = {"photo": 0.15, "drawing": 0.6, "scene": 0.0}  # are of real pictures, where there are such
REHEARSED = 8  # texts a step
# Beside which pictures these are, and how many of them come after a question about the picture.
BESIDE = {"photo": 0.4, "drawing": 0.45, "scene": 0.15}
AFTER, ROUNDS = 0.25, 4
TOLD = 3  # messages that may have gone before: the system's, a question, its reply
EACH, SAID = 25, 5  # steps from one file, one line, to the next
MOSTLY = 0.4  # of a thing's pixels, from which it is said to be of a colour


@dataclass(frozen=True)
class SightRecipe:
    """Sizes of the adapter, and how it learns."""

    layers: int = 16
    prompts: int = 16  # and those that tell a second guess
    hidden: int = 512  # rank of the values
    steps: int = 300
    batch: int = 16
    rate: float = 4e-3
    value_rate: float = 1e-3  # of the memory's values
    back: float = 0.0  # of the way from the start that is gone back at the end (arXiv 2109.01903)
    seed: int = 0

    def spec(self, base: Base, features: int, kinds: int) -> AdapterSpec:
        """Return the adapter's shape, for a base and a tower's features."""
        slots = self.prompts + sum(NEXT) + COLOURED
        layers = min(self.layers, base.config.layers)
        visual = VisualSpec(
            features, self.hidden, "key-value-memory", slots=slots, entries=kinds,
            runner_up_slots=sum(NEXT), single_view=True, attributes=len(BASIC_COLOURS),
            attribute_slots=COLOURED,
        )  # fmt: skip
        return AdapterSpec.for_base(base.config, layers=layers, prompts=slots, visual=visual)


def made(
    recipe: SightRecipe, base: Base, model: Llama, captions: Captions, kinds: Sequence[Known]
) -> Adapter:
    """Return an adapter that sees and has not learned to speak."""
    spec = recipe.spec(base, captions.statistics.shape[1], len(kinds))
    adapter = Adapter(spec)
    centre, aim = targets(
        model, base.tokenizer, kinds, spec.layers, spec.prompts, sum(NEXT), COLOURED
    )
    open_gates(adapter, centre.cpu())
    remember(adapter.visual, captions, aim.cpu())
    return adapter


def begun_with(before: Path, adapter: Adapter) -> None:
    """Copy what another file has learned, in place: prompts, gates, values of the same kinds.

    The first prompts of one that tells no colours; all that tell them stay new.

    Raises:
        ValueError: it has other layers, fewer prompts or another width.
    """
    learned, passport = load_adapter(before)
    visual, spec = passport.spec.visual, adapter.spec
    fresh = spec.prompts - learned.prompts.shape[1]
    if visual is None or learned.gate.shape != adapter.gate.shape or fresh not in (0, COLOURED):
        raise ValueError(f"{before.name} has prompts of another shape than the recipe")
    with torch.no_grad():
        adapter.prompts[:, : spec.prompts - fresh] = learned.prompts
        adapter.gate.copy_(learned.gate)
        if spec.visual == visual and passport.data == DATA:
            adapter.visual.values.load_state_dict(learned.visual.values.state_dict())
            adapter.visual.outer.load_state_dict(learned.visual.outer.state_dict())


def coloured(known: Known, chance: random.Random) -> tuple[Tensor, str, bool]:
    """Return shares of colours (A,) as pixels have them, the largest one, and whether it is so."""
    own = chance.choice(BASIC_COLOURS)
    if known.colour is not None:
        own = {"teal": "blue"}.get(known.colour, known.colour)
    sure = chance.random() < 0.85
    share = chance.uniform(0.45, 1.0) if sure else chance.uniform(0.25, MOSTLY)
    others = chance.sample([c for c in BASIC_COLOURS if c != own], 5)
    drawn = [chance.random() ** 2 for _ in others]
    rest = [(1 - share) * part / sum(drawn) for part in drawn]
    shares = torch.zeros(len(BASIC_COLOURS))
    shares[[BASIC_COLOURS.index(c) for c in others]] = torch.tensor(rest).clamp(max=0.7 * share)
    shares[BASIC_COLOURS.index(own)] = share
    shares /= shares.sum()
    return shares, own, bool(shares.max() >= MOSTLY)


@dataclass(frozen=True)
class SeenPictures:
    """What the tower made of real pictures.

    Attributes:
        shares: (N, K + A) of kinds, and of colours.
        media: what each of the N is.
    """

    shares: Tensor
    media: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> "SeenPictures":
        """Read a file that `looks.py` wrote."""
        parts = load_file(path)
        return cls(torch.cat(list(parts.values())), tuple(m for m in parts for _ in parts[m]))

    def number(self, kinds: int, row: int) -> int:
        """Return what the tower takes a picture for."""
        return int(self.shares[row, :kinds].argmax())


def examples_of(
    tokenizer: Tokenizer,
    kinds: tuple[Known, ...],
    captions: Captions,
    count: int,
    seed: int,
    looks: SeenPictures | None = None,
) -> tuple[list[Example], Tensor]:
    """Return questions with their replies, and shares of kinds and colours, (count, K + A).

    What is asked of, and how surely it is seen, differs from question to question. Of a real
    picture it is known what the tower takes it for, and that is told, whatever it shows.
    """
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    near = captions.rivals()  # (K, R)
    tree = Tree(kinds, near.tolist())
    media = {m: [i for i, k in enumerate(kinds) if k.medium == m] for m in MEDIA}
    real: dict[str, list[int]] = {m: [] for m in MEDIA}
    for row, medium in enumerate(looks.media if looks else ()):
        real[medium].append(row)
    talk, examples, shares = OtherTalk.load(), [], []
    before = None
    for row in range(count):
        sort = chance.choices(list(SORTS), list(SORTS.values()))[0]
        medium = "scene" if sort == "scene" else _drawn(MEDIA, chance)
        if looks and real[medium] and chance.random() < LOOKED[medium]:
            look = chance.choice(real[medium])
            number, (share, hues) = looks.number(len(kinds), look), _parted(looks, look, kinds)
            sure = sureness(share, number, kinds)
            own, mostly = BASIC_COLOURS[int(hues.argmax())], bool(hues.max() >= MOSTLY)
        else:
            number = chance.choice(media[medium])
            share, sure = shares_of(number, near, kinds, generator)
            hues, own, mostly = coloured(kinds[number], chance)
        known = replace(kinds[number], sure="fine" if medium == "scene" else sure)
        shown = ShownPicture(known, number, own, mostly)
        lesson = conversation(sort, shown, before or shown, tree, talk, chance)
        before = shown
        examples.append(replace(encoded(tokenizer, lesson), picture=row))
        shares.append(torch.cat([share, hues]))
    return examples, torch.stack(shares)


def _drawn(shares: Mapping[str, float], chance: random.Random) -> str:
    return chance.choices(list(shares), list(shares.values()))[0]


def _parted(looks: SeenPictures, row: int, kinds: Sequence[Known]) -> tuple[Tensor, Tensor]:
    return looks.shares[row, : len(kinds)], looks.shares[row, len(kinds) :]


def by_medium(shares: Tensor, kinds: Sequence[Known]) -> list[list[int]]:
    """Return the rows of shares (N, K + A) that are of each medium of `BESIDE`, in its order."""
    media = [kinds[at].medium for at in shares[:, : len(kinds)].argmax(1).tolist()]
    return [[row for row, found in enumerate(media) if found == medium] for medium in BESIDE]


def rehearsed(
    tokenizer: Tokenizer,
    exam: Path,
    rows: Sequence[Sequence[int]],
    seed: int,
    before: Sequence[Example] = (),
) -> list[Example]:
    """Return ordinary questions and passages, in some order, each beside some picture.

    The base's own distribution in them is kept, which is part of every step's loss. Every
    fourteenth question is left out, and the exam's, so that both tell what is lost. Each comes
    `ROUNDS` times, beside different pictures, and now and then after what was said of it.

    Args:
        tokenizer: of the base.
        exam: lines that begin with a question and a tab; none of these is rehearsed.
        rows: of the pictures of each medium of `BESIDE`.
        seed: of the order.
        before: what is said of each picture.
    """
    chance = random.Random(seed)
    kept = [line.split("\t")[0] for line in exam.read_text("utf-8").splitlines()]
    texts = [
        text
        for text in rehearsed_texts(tokenizer, "facts")
        if not any(question in said for said in [tokenizer.decode(text.ids)] for question in kept)
    ]
    texts += [
        encoded(
            tokenizer, PictureTalk((Exchange(asked, said.removesuffix(CUT)),), said.endswith(CUT))
        )
        for asked, said in OtherTalk.load().lines
    ]
    groups, found = [g for g in zip(rows, BESIDE.values(), strict=False) if g[0]], []
    for _ in range(ROUNDS):
        chance.shuffle(texts)
        for text in texts:
            row = chance.choice(chance.choices([g for g, _ in groups], [w for _, w in groups])[0])
            if before and chance.random() < AFTER:
                text = _after(before[row], text)
            found.append(replace(text, picture=row))
    return found


def _after(said: Example, text: Example) -> Example:
    """Put a question behind what was said; a text that is no question stays as it is.

    Not behind much: the base itself then goes on as the last turns went, and that is not kept.
    """
    turns = [place for place, token in enumerate(text.ids) if token == text.ids[0]]
    told = sum(token == text.ids[0] for token in said.ids)
    if len(turns) < 2 or text.ids[: turns[1]] != said.ids[: turns[1]] or told > TOLD:
        return text
    rest = slice(turns[1] - 1, None)  # with the line's end before it
    known = (*said.ids, said.labels[-1])
    return Example((*known, *text.ids[rest]), (*[IGNORED] * len(known), *text.labels[rest]))


def learn(
    recipe: SightRecipe,
    base: Base,
    model: Llama,
    adapter: Adapter,
    captions: Captions,
    kinds: tuple[Known, ...],
    keep: Path,
    passport: Passport,
    looks: SeenPictures | None = None,
    workers: Workers | None = None,
) -> None:
    """Teach prompts and gates in place; every so many steps the file is written.

    Raises:
        ArithmeticError: the loss is no longer finite.
    """
    total = recipe.steps * recipe.batch
    examples, shares = examples_of(base.tokenizer, kinds, captions, total, recipe.seed, looks)
    rows = by_medium(shares, kinds)
    texts = rehearsed(base.tokenizer, ASIDES, rows, recipe.seed, examples)
    settings = TrainSettings(
        recipe.steps, recipe.batch, recipe.rate, recipe.rate, recipe.value_rate,
        flat=0.3, rehearsed=REHEARSED, seed=recipe.seed,
    )  # fmt: skip
    memory = adapter.visual.to(model.device)
    adapter.visual = OracleProjection(memory)
    course = TrainingSet(examples, (), shares, texts)
    start = time.monotonic()
    adapter.requires_grad_(True).to(model.device)
    begun = [part.detach().clone() for part in adapter.parameters()]
    state = TrainerState(adapter, settings, course)
    for event in training_run(model, state, course, workers=workers):
        if isinstance(event, Finished) and event.why == "diverged":
            raise ArithmeticError(f"the loss is not finite after step {event.step}")
        if workers and not workers.first:
            continue
        if isinstance(event, Step) and event.step % SAID == 0:
            line = {"step": event.step, "loss": round(event.loss, 4)}
            print(json.dumps(line | {"seconds": round(time.monotonic() - start)}), flush=True)
        if isinstance(event, Step) and event.step % EACH == 0:
            save_with(memory, adapter, passport, keep)
    with torch.no_grad():
        for part, before in zip(adapter.parameters(), begun, strict=True):
            part.lerp_(before, recipe.back)
    if workers is None or workers.first:
        save_with(memory, adapter, passport, keep)


def save_with(memory: torch.nn.Module, adapter: Adapter, passport: Passport, path: Path) -> None:
    """Write the adapter with its memory in the place of what it learned from."""
    whole = Adapter(adapter.spec)
    whole.visual = copy.deepcopy(memory)
    with torch.no_grad():
        for part in whole.visual.parameters():  # to 8 bits of fraction: git packs them in half
            part.copy_(part.bfloat16().float())
        whole.prompts.copy_(adapter.prompts)
        whole.gate.copy_(adapter.gate)
    save_adapter(whole, passport, path)


def passport_of(base: Base, tower: Tower, spec: AdapterSpec, examples: int) -> Passport:
    """Return what the file says of itself."""
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
        data=DATA,
        examples=examples,
        license="Apache-2.0",
        taxonomy=taxonomy(tower_kinds()),
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.sight.train")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="a file whose prompts and gates to begin with")
    parser.add_argument("--llama", help="the base, as the program's flag; else the embedded one")
    parser.add_argument("--clip", help="the tower, as the program's flag; else the embedded one")
    parser.add_argument("--looks", type=Path, help="a file that `looks.py` beside this one made")
    parser.add_argument("--steps", type=int, default=SightRecipe.steps)
    parser.add_argument("--rate", type=float, default=SightRecipe.rate)
    parser.add_argument("--value-rate", type=float, default=SightRecipe.value_rate)
    parser.add_argument("--back", type=float, default=0.0, help="share of the way to go back")
    parser.add_argument("--seed", type=int, default=0, help="of questions and order")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the adapter and write it."""
    given = parse(arguments)
    settings = replace(Settings(), llama=given.llama, clip=given.clip)
    workers = join()
    torch.set_num_threads(max(1, settings.threads // (workers.count if workers else 1)))
    torch.manual_seed(given.seed)
    recipe = SightRecipe(
        steps=given.steps, rate=given.rate, value_rate=given.value_rate, back=given.back,
        seed=given.seed,
    )  # fmt: skip
    base = open_base(settings.llama, settings.cache, lambda message, share: None)
    device = choose_device(settings.device)
    wide = None if device.type == "cpu" else Int8Linear(torch.float32)
    model = load_llama(base, device, POSITIONS, *([wide] if wide else []))
    tower, kinds = load_tower(settings), tower_kinds()
    folder = settings.clip or f"{LOCAL}{CHECKPOINTS / FOLDER}"
    captions = read_captions(folder, tower, [caption(kind) for kind in kinds])
    adapter = made(recipe, base, model, captions, kinds)
    if given.init:
        begun_with(given.init, adapter)
    passport = passport_of(base, tower, adapter.spec, recipe.steps * recipe.batch)
    if recipe.steps:
        looks = SeenPictures.load(given.looks) if given.looks else None
        learn(recipe, base, model, adapter, captions, kinds, given.out, passport, looks, workers)
    else:
        save_with(adapter.visual, adapter, passport, given.out)


if __name__ == "__main__":
    main()
