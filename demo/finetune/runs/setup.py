"""What a run begins with: its data as the trainer takes it, and an adapter to be taught."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter, load_adapter
from demo.adapter.config import FORMS, AdapterSpec, VisualSpec
from demo.adapter.passport import Passport, read_passport
from demo.errors import CheckpointError, DataError
from demo.finetune.data.column_doubts import why_unknown
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.dataset import Aim, CheckSettings, Dataset, check
from demo.finetune.data.dataset_file import load_dataset, load_facts, save_dataset, save_facts
from demo.finetune.data.examples import EncodedRow, Example, template_fingerprint
from demo.finetune.data.paraphrase import (
    PooledFacts,
    VariedRows,
    fits_pool,
    pool_rows,
    vary_rows,
)
from demo.finetune.data.pictures import SeenPicture
from demo.finetune.data.read import read_table, with_pictures
from demo.finetune.data.samples import SAMPLES, load_sample
from demo.finetune.data.table import NO_LIMITS
from demo.finetune.runs.picture_features import picture_features
from demo.finetune.runs.run_folder import MOST_PROBES, RunFolder, RunRequest
from demo.finetune.train.config import FACTS_REHEARSAL, TrainingOptions, fitted
from demo.finetune.train.evaluate import ProbeQuestion
from demo.finetune.train.loss import begin_at, grown, new_pool, rehearsed_texts
from demo.finetune.train.state import Order, TrainingSet
from demo.llama.base import Base
from demo.llama.model import Llama
from demo.llama.tokenizer.chat_template import Message
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.questions.matcher import Fact
from demo.vision.clip import Tower

log = logging.getLogger(__name__)

OPENING = 16  # tokens of a plain text that it is asked to go on from
MEASURED = 200  # pictures whose tokens say how such numbers vary


@dataclass(frozen=True)
class PreparedData:
    """What is taught.

    Attributes:
        training_set: what the trainer sees: some of the rows held out, and no more to learn than it
            has time for.
        held_out: the rows that the end is evaluated on.
        probes: questions answered on the way.
        asked: held-out rows as questions, each once; learned ones where nothing is held out.
        facts: question and answer of each row that is learned by heart, none for another aim.
        otherwise: facts in wordings that are not learned, to ask at the end.
        aim: what the rows teach.
        rows: that are learned, in however many wordings.
        fingerprint: of what there is to learn.
        pool: facts that each get prompts of their own, None where all rows share them.
        choices: as asked for; a preset becomes that of the aim and the number of rows.
        tower: what the pictures went through, None without pictures.
        pictures: the row of the features that each has.
    """

    training_set: TrainingSet
    held_out: tuple[Example, ...]
    probes: tuple[ProbeQuestion, ...]
    asked: tuple[ProbeQuestion, ...]
    facts: tuple[tuple[str, str], ...]
    otherwise: tuple[Example, ...]
    aim: Aim
    rows: int
    fingerprint: str
    tower: Tower | None = None
    pictures: tuple[SeenPicture, ...] = ()
    pool: PooledFacts | None = None
    choices: TrainingOptions = field(default_factory=TrainingOptions)

    def learned_features(self) -> Tensor:
        """Return the features (pictures, S) of what is learned alone; there must be pictures."""
        assert self.training_set.features is not None
        features = self.training_set.features
        places = sorted({e.picture for e in self.training_set.examples if e.picture is not None})
        # Tokens of all of them may be more than fit into memory.
        return features[places if features.dim() == 2 else places[:MEASURED]]


def prepare_data(
    folder: RunFolder, request: RunRequest, tokenizer: Tokenizer, tower: Callable[[], Tower]
) -> PreparedData:
    """Read and split the data, and compute the features of its pictures.

    Raises:
        DataError: there is nothing in it to teach; the message says what is wrong and where.
        OSError: the features cannot be kept.
    """
    dataset = read_dataset(folder, request, tokenizer)
    choices = request.choices
    if dataset.aim == "facts" and not dataset.pictures:  # a preset's steps follow from the rows
        choices = fitted(choices, pictures=False, aim="facts", rows=len(dataset.train))
    learned = _some(dataset.train, choices.steps * choices.batch, choices.seed)
    held_out = _some(dataset.held_out, choices.final_eval_rows, choices.seed)
    features: Tensor | None = None
    seen: Tower | None = None
    pictures: tuple[SeenPicture, ...] = ()
    if dataset.pictures:
        seen = tower()
        learned, held_out, pictures = _placed(learned, held_out, dataset.pictures)
        features = picture_features(folder.features, pictures, seen, _projection(folder, choices))
    facts = dataset.aim == "facts"
    known = load_facts(folder.before, learned, tokenizer) if facts else ()
    pool = _pooled(folder, dataset, choices, learned, known, tokenizer)
    if pool:
        save_facts(folder.taught, [*known, *learned])
        found = _prepared_pool(pool, dataset, request, tokenizer, learned, held_out)
        return replace(found, choices=choices)
    asked = _questions([*learned, *known] if facts else held_out or learned, tokenizer)
    varied = _in_words(learned, dataset.aim, choices, tokenizer, known)
    if facts and not pictures:
        save_facts(folder.taught, [*known, *learned])
    settings = choices.settings(dataset.aim)
    training_set = TrainingSet(
        [item.example for item in varied.learned],
        [] if facts else [item.example for item in held_out[: choices.eval_rows]],
        features,
        # No more than there are steps for: what is not asked for need not be prepared.
        rehearsed_texts(tokenizer, dataset.aim)[: choices.steps * settings.rehearsed]
        if features is None
        else (),
        FACTS_REHEARSAL if facts else TrainingSet.rehearsal_weight,
    )
    return PreparedData(
        training_set,
        tuple(item.example for item in held_out),
        _typed(request, tokenizer) or asked[:MOST_PROBES],
        asked,
        tuple((q.text, q.expected) for q in asked) if facts else (),
        tuple(item.example for item in varied.kept_out),
        dataset.aim,
        len(learned),
        dataset.fingerprint,
        seen,
        pictures,
        choices=choices,
    )


def _typed(request: RunRequest, tokenizer: Tokenizer) -> tuple[ProbeQuestion, ...]:
    """Return the questions that somebody wants answered on the way."""
    sample = SAMPLES[request.sample].probes if request.sample else ()
    return tuple(
        ProbeQuestion(text, tuple(tokenizer.chat([Message("user", text)])))
        for text in (request.probes or sample)
    )


def _pooled(
    folder: RunFolder,
    dataset: Dataset,
    choices: TrainingOptions,
    learned: Sequence[EncodedRow],
    known: Sequence[EncodedRow],
    tokenizer: Tokenizer,
) -> PooledFacts | None:
    """Give facts prompts of their own where that is possible, and the start has none that share."""
    start = read_passport(folder.start) if folder.start.exists() else None
    before = [Fact(*fact) for fact in start.facts] if start else []
    if not pools(dataset, choices) or (start and not before) or not fits_pool(learned, before):
        return None
    return pool_rows(learned, tokenizer, choices.seed, before, known)


def pools(dataset: Dataset, choices: TrainingOptions) -> bool:
    """Tell whether rows are facts in texts that are to be taught by prompts alone."""
    alone = choices.form == FORMS[0] and choices.zero_init
    return dataset.aim == "facts" and not dataset.pictures and alone


def _prepared_pool(
    pool: PooledFacts,
    dataset: Dataset,
    request: RunRequest,
    tokenizer: Tokenizer,
    learned: Sequence[EncodedRow],
    held_out: Sequence[EncodedRow],
) -> PreparedData:
    """Return facts as a pool learns them: nothing is held out, and nothing has to be rehearsed.

    What an example's prefix is computed from is its fact's place, as it is a picture's features
    elsewhere.
    """
    places = torch.arange(len(pool.facts), dtype=torch.float32)[:, None]  # (G, 1)
    asked = _questions(pool.asked, tokenizer)
    return PreparedData(
        TrainingSet([item.example for item in pool.learned], features=places),
        tuple(item.example for item in held_out),
        _typed(request, tokenizer) or asked[:MOST_PROBES],
        asked,
        tuple((question.text, question.expected) for question in asked),
        tuple(item.example for item in pool.kept_out),
        dataset.aim,
        len(learned),
        dataset.fingerprint,
        pool=pool,
    )


def read_dataset(folder: RunFolder, request: RunRequest, tokenizer: Tokenizer) -> Dataset:
    """Load the checked rows, or read and check the data and keep what was found.

    Raises:
        DataError: as `check`.
        OSError: the checked rows cannot be kept.
    """
    settings = check_settings(request.choices)
    place = Path(request.place) if request.place else folder.data / request.data
    files = [place, *([folder.data / request.held_out] if request.held_out else [])]
    if folder.dataset.exists():
        try:
            return load_dataset(folder.dataset, tokenizer, settings, files)
        except DataError as error:  # another version wrote it, say; the data itself is there
            log.warning("checked once more: %s", error)
    if request.sample:
        table = load_sample(request.sample)
    else:
        table = read_table(place, request.source, NO_LIMITS)  # whoever took it had its own
    if request.pictures:
        table = with_pictures(table, Path(request.pictures))
    layout = request.layout or recognise_table(table)
    if layout is None:
        raise DataError(
            f"{why_unknown(table.columns)} On the command line, name them with --question NAME "
            "--answer NAME."
        )
    held_out = folder.data / request.held_out if request.held_out else None
    dataset = check(
        table,
        layout,
        tokenizer,
        settings,
        held_out=read_table(held_out, "the rows held out", NO_LIMITS) if held_out else None,
    )
    save_dataset(folder.dataset, dataset, tokenizer)
    return dataset


def check_settings(choices: TrainingOptions) -> CheckSettings:
    """Return how rows are checked and split that are taught with these choices."""
    return CheckSettings(choices.window, choices.held_out, choices.seed, choices.aim, choices.cut)


def first_batch(dataset: Dataset, choices: TrainingOptions, tokenizer: Tokenizer) -> list[Example]:
    """Return what a run's first step learns from."""
    learned = _some(dataset.train, choices.steps * choices.batch, choices.seed)
    alone = pools(dataset, choices) and fits_pool(learned)
    if alone:
        varied = pool_rows(learned, tokenizer, choices.seed).learned
    else:
        varied = _in_words(learned, dataset.aim, choices, tokenizer).learned
    examples = [item.example for item in varied]
    sizes = [0 if alone else len(example.ids) for example in examples]
    order = Order(sizes, choices.batch, choices.seed)
    return [examples[place] for place in order.next()]


def _some(items: Sequence[EncodedRow], most: int, seed: int) -> list[EncodedRow]:
    """Draw at most so many by seed: of more, features would be computed for nothing."""
    return random.Random(seed).sample(list(items), min(most, len(items)))


def _in_words(
    learned: list[EncodedRow],
    aim: Aim,
    choices: TrainingOptions,
    tokenizer: Tokenizer,
    known: Sequence[EncodedRow] = (),
) -> VariedRows:
    """Return rows in all the wordings in which they are learned, and kept out."""
    if aim == "facts":
        return vary_rows(learned, tokenizer, choices.seed, known)
    return VariedRows(learned, [])


def _placed(
    learned: Sequence[EncodedRow], held_out: Sequence[EncodedRow], pictures: Sequence[SeenPicture]
) -> tuple[list[EncodedRow], list[EncodedRow], tuple[SeenPicture, ...]]:
    """Renumber the pictures that are needed, and return the rows with those alone."""
    items = [*learned, *held_out]
    without = [item for item in items if item.example.picture is None]
    if without:
        raise DataError(
            f"{len(without):,} rows have no picture and {len(items) - len(without):,} have one; "
            f"the first without is {without[0].where}. Please teach them apart."
        )
    places = sorted({p for item in items if (p := item.example.picture) is not None})
    row: dict[int | None, int] = {place: number for number, place in enumerate(places)}
    parts = [
        [
            replace(item, example=replace(item.example, picture=row[item.example.picture]))
            for item in part
        ]
        for part in (learned, held_out)
    ]
    return parts[0], parts[1], tuple(pictures[place] for place in places)


def _questions(items: Sequence[EncodedRow], tokenizer: Tokenizer) -> tuple[ProbeQuestion, ...]:
    """Each question once, with its picture."""
    found: dict[tuple[str, int | None], ProbeQuestion] = {}
    for item in items:
        text = next(turn.question for turn in item.conversation.exchanges if turn.learn)
        if item.conversation.exchanges[0].plain:
            ids = item.example.ids
            known = ids[: max(1, min(OPENING, len(ids) // 2))]
            opening = tokenizer.decode(known)
            rest = tokenizer.decode(item.example.labels[len(known) - 1 :])
            found[opening, None] = ProbeQuestion(opening, known, expected=rest)
            continue
        key = (text, item.example.picture)
        if key not in found:
            found[key] = ProbeQuestion.of(text, item.example, tokenizer)
    return tuple(found.values())


def _projection(folder: RunFolder, choices: TrainingOptions) -> VisualSpec:
    """Return the projection of pictures: of the adapter that is taught more, or of a new one."""
    visual = read_passport(folder.start).spec.visual if folder.start.exists() else None
    return visual or choices.visual(1)


OPEN_GATE = 3.0  # tanh 0.995: gates open from the start, to compare (design, section 2)


def new_adapter(
    folder: RunFolder, choices: TrainingOptions, base: Base, model: Llama, material: PreparedData
) -> tuple[Adapter, Passport | None]:
    """Return the adapter before its first step, and the passport of the one to be taught more.

    A new one follows from the seed, and of facts from the rows.

    Raises:
        CheckpointError: the one to be taught more does not fit base or pictures.
    """
    if folder.start.exists():
        adapter, passport = load_adapter(folder.start)
        _check_start(passport, base, material)
        if material.pool:
            adapter = grown(adapter, model, material.pool)
        return adapter.requires_grad_(True), passport
    if material.pool:
        return new_pool(choices, model, material.pool), None
    features = material.training_set.features
    spec = choices.spec(base.config, None if features is None else features.shape[-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(choices.seed)
        adapter = Adapter(spec)
    if adapter.visual:
        adapter.visual.measure(material.learned_features())
    elif material.facts and choices.zero_init:
        text = "\n".join(f"{question} {answer}" for question, answer in material.facts)
        begin_at(adapter, model, base.tokenizer.encode_text(text), choices.seed)
    if not choices.zero_init:
        torch.nn.init.constant_(adapter.gate, OPEN_GATE)
    return adapter, None


def make_passport(
    request: RunRequest,
    base: Base,
    material: PreparedData,
    spec: AdapterSpec,
    start: Passport | None,
) -> Passport:
    """Return what the adapter's file says of itself, but for the measures.

    `start` is the passport of the adapter that is taught more.
    """
    tower, sight = material.tower, dict[str, Any]()
    if spec.visual and tower:
        sight = {
            "tower": tower.name,
            "tower_fingerprint": tower.fingerprint,
            "preprocessing": vars(tower.preprocessing),
        }
    elif spec.visual and start:  # it keeps its tower, whatever it is taught now
        sight = {
            name: getattr(start, name) for name in ("tower", "tower_fingerprint", "preprocessing")
        }
    return Passport(
        name=request.name.strip(),
        description=request.description.strip(),
        base=base.name,
        base_fingerprint=base.fingerprint,
        spec=spec,
        template=template_fingerprint(base.tokenizer),
        data=request.source,
        data_fingerprint=material.fingerprint,
        examples=material.rows,
        facts=tuple((q, a) for q, a in material.pool.facts) if material.pool else (),
        **sight,
    )


def _check_start(passport: Passport, base: Base, material: PreparedData) -> None:
    if passport.base_fingerprint != base.fingerprint:
        raise CheckpointError(
            f"The adapter to be taught more was taught on {passport.base}; this is {base.name}. "
            "Start a new one."
        )
    tower = material.tower
    if tower and passport.tower_fingerprint != tower.fingerprint:
        sees = f"sees through {passport.tower}" if passport.tower else "knows no pictures"
        raise CheckpointError(
            f"The adapter to be taught more {sees}; these pictures go through {tower.name}. "
            "Start a new one."
        )
