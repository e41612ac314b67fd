"""Asks `sight` about an exam's pictures, with real decoding, and judges what it says."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.adapter.file import load_adapter
from demo.bench.shapes import percent
from demo.bench.sight_judge import Judge
from demo.finetune.lessons import Lesson
from demo.finetune.probe import Question, answers
from demo.llama.base import Base, open_base
from demo.llama.chat_template import Message
from demo.llama.decode import Decoder, SlotSizes
from demo.llama.model import Llama
from demo.models import choose_device, load_llama
from demo.recipes.sight_kinds import known_kinds
from demo.recipes.sight_lessons import Known, Medium
from demo.recipes.sight_pictures import shown
from demo.recipes.vocabulary import Vocabulary
from demo.recipes.zero_shot import Exam
from demo.settings import Settings
from demo.vision.clip import Tower
from demo.vision.media import Picture

POSITIONS = 512
SLOTS = 16  # questions that are answered at once
SEED = 0  # of wordings, and of which picture takes another's place


@dataclass(frozen=True)
class Hall:
    """Pictures to be asked about: `features` (N, S) fp32, and what is known of each.

    `others` are the features (N, S) that `shapes` sees.
    """

    known: tuple[Known, ...]
    features: Tensor
    others: Tensor


@dataclass(frozen=True)
class Found:
    """What was said of pictures, and what with each exchanged for one of another group."""

    judge: Judge
    known: tuple[Known, ...]
    lessons: tuple[Lesson, ...]
    replies: tuple[str, ...]
    swapped: tuple[str, ...]

    @property
    def own(self) -> float:
        """Percent right with the own picture."""
        return self._right(self.replies)

    @property
    def other(self) -> float:
        """Percent right with another one in its place."""
        return self._right(self.swapped)

    @property
    def changed(self) -> float:
        """Percent of replies that another picture changed."""
        return percent([a != b for a, b in zip(self.replies, self.swapped, strict=True)])

    def _right(self, replies: Sequence[str]) -> float:
        every = zip(replies, self.lessons, self.known, strict=True)
        return percent([self.judge(*each) for each in every])


@dataclass(frozen=True)
class Reader:
    """The adapter on its base, with real decoding."""

    base: Base
    model: Llama
    decoder: Decoder
    adapter: Adapter

    def replies(
        self,
        asked: Sequence[str],
        rows: Sequence[int] | Sequence[None],
        features: Tensor | None,
        strength: float = 1.0,
    ) -> list[str]:
        """Greedy replies, in order; `rows` of the features (N, S) say which picture is seen."""
        tokenizer = self.base.tokenizer
        ids = [tuple(tokenizer.chat([Message("user", text)])) for text in asked]
        every = [Question(*each) for each in zip(asked, ids, rows, strict=True)]
        found: list[str] = []
        for start in range(0, len(every), SLOTS):
            part = every[start : start + SLOTS]
            found += answers(
                self.decoder, self.model, tokenizer, self.adapter, part, features, strength=strength
            )
        return found


def opened(settings: Settings, adapter: Path | None) -> Reader:
    """The embedded base with `sight`."""
    base = open_base(None, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device("cpu"), POSITIONS)
    loaded = load_adapter(adapter or settings.adapters / "sight.safetensors")[0]
    sizes = SlotSizes(SLOTS, POSITIONS, loaded.spec.prompts)
    return Reader(base, model, Decoder(model, sizes, settings.threads), loaded)


def entered(
    exam: Exam, medium: Medium, tower: Tower, adapter: Adapter, vocabulary: Vocabulary
) -> Hall:
    """An exam with the features that the adapter sees."""
    kinds = known_kinds(vocabulary)
    numbers = [vocabulary.number(caption) for caption in exam.captions]
    known = [kinds[n] for n in (numbers[t] for t in exam.truth.tolist()) if n is not None]
    pictures = [picture for part in exam.pixels.split(250) for picture in shown(part)]
    seen = seen_by(adapter, tower, pictures)
    return Hall(tuple(replace(k, medium=medium) for k in known), *seen)


def seen_by(adapter: Adapter, tower: Tower, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
    """What the adapter sees of pictures, and what `shapes` does, (N, S) each."""
    assert adapter.spec.visual is not None
    return tower.batch_seen(pictures, adapter.spec.visual.kind), tower.batch(pictures)


def judged(
    reader: Reader, hall: Hall, ask: Callable[[Known, random.Random], Lesson], judge: Judge
) -> Found:
    """Every picture asked about once, then with one of another group in its place."""
    chance = random.Random(SEED)
    lessons = [ask(known, chance) for known in hall.known]
    rows = list(range(len(lessons)))
    groups = [known.group for known in hall.known]
    others = [chance.choice([r for r in rows if groups[r] != own] or rows) for own in groups]
    asked = [lesson.question for lesson in lessons]
    own = tuple(reader.replies(asked, rows, hall.features))
    other = tuple(reader.replies(asked, others, hall.features))
    return Found(judge, hall.known, tuple(lessons), own, other)
