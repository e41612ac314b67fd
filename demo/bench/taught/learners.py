"""Who is taught the same rows: our program, and beside it LoRA, for as many seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demo.bench.report import Bar
from demo.bench.taught.lesson import Learner, Lesson, chosen, teach
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.examples import Example, encode
from demo.finetune.data.paraphrase import OTHERS, wordings
from demo.llama.tokenizer.tokenizer import Tokenizer

OURS = ""  # what stands before the names of its figures
FORM = "our form LoRA: "
PEFT, PEFT_VARIED = "PEFT LoRA, rank 8: ", "PEFT LoRA, rank 8, in other wordings too: "
PACE = 3  # steps by which it is found how many take so many seconds


@dataclass(frozen=True)
class TaughtLearner:
    """A learner at the end of its lesson.

    Attributes:
        name: what stands before the names of its figures.
        learner: to be asked.
        costs: figures of the lesson, by name.
    """

    name: str
    learner: Learner
    costs: dict[str, float]


def learners(
    rows: Sequence[tuple[str, str]], preset: str, seed: int, place: Path, *, lora: bool
) -> Iterator[TaughtLearner]:
    """Teach rows with a preset, and to each LoRA for as many seconds as the steps took.

    Args:
        rows: questions and answers.
        preset: of ours.
        seed: of every learner.
        place: an empty folder.
        lora: whether there is a LoRA beside ours.
    """
    ours = teach(rows, chosen(preset, seed), place / "ours")
    waited = {"seconds until it can be asked": ours.waited, "tokens a step": ours.tokens}
    yield TaughtLearner(OURS, ours.learner, _costs(ours.steps, ours.seconds) | waited)
    if not lora:
        return
    form = _own_form(ours, rows, preset, seed, place)
    yield TaughtLearner(FORM, form.learner, _costs(form.steps, form.seconds))
    from demo.bench.peers.lora import PeftLora  # PEFT is there where somebody compares with it

    tools = ours.learner.tools
    for name, words in ((PEFT, 0), (PEFT_VARIED, OTHERS)):
        peer = PeftLora(tools.base)
        examples = in_wordings(rows, tools.base.tokenizer, words, seed)
        spent = peer.learn(examples, ours.seconds, seed)
        yield TaughtLearner(name, peer, _costs(peer.steps, spent))


def _own_form(
    ours: Lesson, rows: Sequence[tuple[str, str]], preset: str, seed: int, place: Path
) -> Lesson:
    """Teach with the form that a person may choose instead, prompts with a LoRA beside them."""
    tools, choices = ours.learner.tools, chosen(preset, seed, "LoRA")
    pace = teach(rows, replace(choices, steps=PACE), place / "pace", load=lambda *_: tools)
    steps = max(1, round(PACE * ours.seconds / pace.seconds))
    return teach(rows, replace(choices, steps=steps), place / "form", load=lambda *_: tools)


def in_wordings(
    rows: Sequence[tuple[str, str]], tokenizer: Tokenizer, words: int, seed: int
) -> list[Example]:
    """Encode rows, each in so many wordings made by rule as well."""
    others = (
        wordings([question for question, _ in rows], words, seed) if words else [()] * len(rows)
    )
    return [
        encode(tokenizer, [Exchange(text, answer)])
        for (question, answer), more in zip(rows, others, strict=True)
        for text in (question, *more)
    ]


def not_behind(means: dict[str, float], wanted: Sequence[str]) -> list[Bar]:
    """Return by how many points ours is ahead of the best LoRA, where there is one.

    Args:
        means: of all figures, in percent, by name.
        wanted: names of what should be high.
    """
    bars = []
    for name in wanted:
        best = [means[who + name] for who in (FORM, PEFT, PEFT_VARIED) if who + name in means]
        if best:
            bars.append(Bar(f"{name}: ahead of LoRA, points", means[name] - max(best), least=0))
    return bars


def _costs(steps: int, seconds: float) -> dict[str, float]:
    return {"steps": float(steps), "seconds of steps": seconds}
