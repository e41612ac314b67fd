"""A lesson: rows taught as a person would teach them, and whoever learned them, to be asked.

The road is the program's own, from a file of rows to an adapter, and each question finds its
prompts as in the chat.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from demo.adapter.adapter import Adapter, save_adapter
from demo.adapter.config import FORMS
from demo.finetune.data.examples import Example
from demo.finetune.runs.job import LoadTools, Tools, begin, load_tools
from demo.finetune.runs.run_folder import RunFolder, RunRequest
from demo.finetune.runs.setup import PreparedData, make_passport
from demo.finetune.train.config import TrainingOptions, presets
from demo.finetune.train.evaluate import (
    ORDINARY,
    ORDINARY_TOKENS,
    ProbeQuestion,
    answers,
    exact,
    perplexities,
)
from demo.finetune.train.events import Step
from demo.finetune.train.state import TrainerState
from demo.finetune.train.trainer import training_run
from demo.llama.tokenizer.chat_template import Message
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.questions.matcher import load_matcher
from demo.settings import Settings


class Learner(Protocol):
    """Whoever was taught, to be asked.

    Attributes:
        tokenizer: of its base.
    """

    tokenizer: Tokenizer

    def replies(
        self, questions: Sequence[str], longest: int, *, strength: float = 1.0
    ) -> list[str]:
        """Answer questions, each by itself, in so many tokens at most; at 0 as the base does."""

    def right(self, examples: Sequence[Example]) -> list[bool]:
        """Tell of each example whether the reply would be the expected one to the letter."""

    def rise(self) -> float:
        """Return by how much the perplexity of ordinary text rose, in percent."""


class Pupil:
    """What our program taught.

    Args:
        tools: of its run.
        adapter: that learned.
        prepared: what it learned from.
    """

    def __init__(self, tools: Tools, adapter: Adapter, prepared: PreparedData) -> None:
        self.tools, self.adapter, self.tokenizer = tools, adapter, tools.base.tokenizer
        self._features = prepared.training_set.features
        self._matcher = load_matcher() if prepared.pool else None
        if self._matcher and prepared.pool:
            self._known = self._matcher.known(prepared.pool.facts)

    def place(self, question: str) -> int | None:
        """Return which fact's own prompts a question chooses, as in the chat; None for none."""
        match = self._matcher.match(question, self._known) if self._matcher else None
        return match.place if match else None

    def replies(
        self, questions: Sequence[str], longest: int, *, strength: float = 1.0
    ) -> list[str]:
        """Answer questions, each by itself, in so many tokens at most; at 0 as the base does."""
        tools, replies = self.tools, list[str]()
        asked = [
            ProbeQuestion(q, tuple(self.tokenizer.chat([Message("user", q)])), self.place(q))
            for q in questions
        ]
        for start in range(0, len(asked), tools.slots):
            replies += answers(
                tools.decoder, tools.model, self.tokenizer, self.adapter,
                asked[start : start + tools.slots], self._features,
                strength=strength, longest=longest,
            )  # fmt: skip
        return replies

    def right(self, examples: Sequence[Example]) -> list[bool]:
        """Tell of each example whether the reply would be the expected one to the letter."""
        return list(exact(self.tools.model, self.adapter, examples, None))

    def rise(self) -> float:
        """Return by how much the perplexity of ordinary text rose, in percent."""
        off, on = perplexities(self.tools.model, self.adapter, ordinary_text(self.tokenizer))
        return 100 * (on / off - 1)


@dataclass(frozen=True)
class Lesson:
    """Rows that were taught.

    Attributes:
        learner: of them.
        steps: that it took.
        seconds: of the steps.
        waited: seconds from the rows to what can be asked, loading and start included.
        tokens: a step.
        saved: the adapter's file, to be taught more.
    """

    learner: Pupil
    steps: int
    seconds: float
    waited: float
    tokens: float
    saved: Path


def chosen(preset: str, seed: int, form: str = FORMS[0]) -> TrainingOptions:
    """Return a preset as a person chooses it who says nothing else."""
    return replace(presets(pictures=False, form=form)[preset], seed=seed)


def teach(
    rows: Sequence[tuple[str, str]],
    choices: TrainingOptions,
    place: Path,
    *,
    start: Path | None = None,
    load: LoadTools = load_tools,
) -> Lesson:
    """Teach questions and their answers.

    Args:
        rows: to learn; what they teach is guessed, as on the page.
        choices: of the person.
        place: an empty folder for the run, which stays.
        start: an adapter to be taught more.
        load: gives the base.
    """
    began = time.perf_counter()
    place.mkdir(parents=True, exist_ok=True)
    data = place / "rows.jsonl"
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in rows]
    data.write_text("\n".join(lines), "utf-8")
    folder = RunFolder(place / "run")
    folder.create(RunRequest("", "a lesson", choices, Settings(), ""), data, start=start)
    request = folder.request()
    tools, prepared, adapter, before = begin(folder, request, load)
    settings = prepared.choices.settings(prepared.aim)
    state = TrainerState(adapter, settings, prepared.training_set)
    seconds = 0.0
    for event in training_run(tools.model, state, prepared.training_set):
        seconds += event.seconds if isinstance(event, Step) else 0.0
    state.settle()
    waited = time.perf_counter() - began
    passport = make_passport(request, tools.base, prepared, adapter.spec, before)
    save_adapter(adapter, passport, folder.adapter)
    learned = prepared.training_set.examples
    size = sum(len(example.ids) for example in learned) / len(learned)
    pupil = Pupil(tools, adapter, prepared)
    return Lesson(pupil, state.step, seconds, waited, size * settings.batch, folder.adapter)


def ordinary_text(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of the text whose perplexity is to stay."""
    return tokenizer.encode_text(ORDINARY.read_text("utf-8"))[:ORDINARY_TOKENS]
