"""Facts as a pool of prompts learns them: each row in several wordings, for a group of its own.

A group has to carry one answer (`demo/adapter/fact_pool.py`), whatever words it is asked for in. So
a few wordings made by rule do. A few questions of quite other things get the answer as well: what
is asked is decided before, and the group learns to depend on no word of it. Nothing is rehearsed,
and rows that were learned before need not be shown again: their groups stay as they are.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from demo.adapter.config import MAX_FACTS_TEXT, MOST_FACTS
from demo.finetune.data.examples import EncodedRow
from demo.finetune.data.paraphrase import FEWEST, asked_as, wordings
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.questions.matcher import Fact, plain
from demo.settings import ROOT

OTHERS = 5  # other wordings of each question that are learned
STRANGE = 3  # questions of other things that it is the answer to as well
QUESTIONS = ROOT / "assets" / "ordinary_questions.txt"  # before a tab


@dataclass(frozen=True)
class PooledFacts:
    """What a pool knows at the end of a run, and what it learns in it.

    Attributes:
        facts: all of them; an example's `picture` is the place of its own.
        learned: this run's rows, in all their wordings.
        kept_out: the facts in one more wording each, to ask at the end.
        asked: each fact as it was taught, those of before as well.
    """

    facts: tuple[Fact, ...]
    learned: list[EncodedRow]
    kept_out: list[EncodedRow]
    asked: list[EncodedRow]


def fits_pool(rows: Sequence[EncodedRow], before: Sequence[Fact] = ()) -> bool:
    """Tell whether each row is one question with its answer, and all of them have room."""
    single = all(
        len(row.conversation.exchanges) == 1 and not row.conversation.exchanges[0].plain
        for row in rows
    )
    text = json.dumps([*before, *([*map(_fact, rows)] if single else ())])
    return single and len(before) + len(rows) <= MOST_FACTS and len(text) <= MAX_FACTS_TEXT


def pool_rows(
    rows: Sequence[EncodedRow],
    tokenizer: Tokenizer,
    seed: int,
    before: Sequence[Fact] = (),
    known: Sequence[EncodedRow] = (),
) -> PooledFacts:
    """Give each row a place in the pool and its wordings.

    Args:
        rows: to be learned; `fits_pool` let them pass.
        tokenizer: of the base.
        seed: of the choice among wordings.
        before: facts that the pool has already. One whose question comes again is learned anew.
        known: the rows of those that stay, to be asked at the end.
    """
    facts = list(before)
    place = {plain(fact.question): number for number, fact in enumerate(facts)}
    for row in rows:
        fact = _fact(row)
        if place.setdefault(plain(fact.question), len(facts)) == len(facts):
            facts.append(fact)
        facts[place[plain(fact.question)]] = fact
    ordinary = [line.split("\t")[0] for line in QUESTIONS.read_text("utf-8").splitlines()]
    learned, kept_out, asked = list[EncodedRow](), list[EncodedRow](), list[EncodedRow]()
    every = [row for row in (*rows, *known) if plain(_fact(row).question) in place]
    questions, old = [_fact(row).question for row in every], set(map(id, known))
    for row, others in zip(every, wordings(questions, OTHERS + 1, seed), strict=True):
        placed = _at(row, place[plain(_fact(row).question)])
        varied = [asked_as(placed, other, tokenizer) for other in others if other.strip()]
        kept_out += [varied.pop()] if len(varied) >= FEWEST else []
        asked.append(placed)
        if id(row) not in old:
            strange = random.Random(f"{seed} {_fact(row).question}").sample(ordinary, STRANGE)
            learned += [placed, *varied, *(asked_as(placed, q, tokenizer) for q in strange)]
    return PooledFacts(tuple(facts), learned, kept_out, asked)


def _fact(row: EncodedRow) -> Fact:
    said = row.conversation.exchanges[0]
    return Fact(said.question, said.reply)


def _at(row: EncodedRow, place: int) -> EncodedRow:
    return replace(row, example=replace(row.example, picture=place))
