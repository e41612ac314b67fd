"""Facts as a pool of prompts learns them: their rows, where their prompts begin, their recall.

A pool is a group of prompts for each fact (`demo/adapter/adapter.py`). A group has to carry one
answer, whatever words it is asked for in. So a few wordings made by rule do. A few questions of
quite other things get the answer as well: what is asked is decided before, and the group learns to
depend on no word of it. Nothing is rehearsed, and rows that were learned before need not be shown
again: their groups stay as they are.

Prompts begin at what each layer of the base makes of the fact itself, its question and its answer:
of the right size, and with the answer's own keys and values in them.

At the end of a run its questions go the way that a visitor's will: by their text to a fact or to
none, not by the row that they came from.

Sizes: L adapted layers, K prompts a layer, D model width.
"""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.adapter.config import MOST_FACTS
from demo.adapter.passport import MAX_FACTS_TEXT
from demo.finetune.data.examples import IGNORED, EncodedRow, Example
from demo.finetune.data.paraphrase import FEWEST, asked_as, wordings
from demo.finetune.train.config import FACTS_GATE, TrainingOptions
from demo.finetune.train.loss import QUESTIONS, unrehearsed_by_text
from demo.llama.model import Llama
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.questions.matcher import Fact, Matcher, load_matcher, plain

OTHERS = 5  # other wordings of each question that are learned
STRANGE = 3  # questions of other things that it is the answer to as well
TOGETHER = 16  # facts whose texts are run at once
Recall = Callable[[Example], Example]


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


def new_pool(choices: TrainingOptions, model: Llama, pool: PooledFacts) -> Adapter:
    """Return an adapter whose facts are all to be learned.

    Args:
        choices: of the run.
        model: the base.
        pool: what is learned.
    """
    adapter = Adapter(replace(choices.spec(model.config, None), facts=len(pool.facts)))
    torch.nn.init.constant_(adapter.gate, math.atanh(FACTS_GATE))
    _begin(adapter, model, pool)
    return adapter


def grown(before: Adapter, model: Llama, pool: PooledFacts) -> Adapter:
    """Return an adapter with what another knows, and room for what it is taught more.

    Args:
        before: with a pool; facts that are learned anew begin anew.
        model: the base.
        pool: what is known at the end of the run.
    """
    adapter = Adapter(replace(before.spec, facts=len(pool.facts)))
    assert adapter.pool
    assert before.pool
    taught = {item.example.picture for item in pool.learned}
    with torch.no_grad():
        adapter.gate.copy_(before.gate)
        for place, group in enumerate(before.pool.groups):
            if place not in taught:
                adapter.pool.groups[place].copy_(group)
    _begin(adapter, model, pool)
    return adapter


def _begin(adapter: Adapter, model: Llama, pool: PooledFacts) -> None:
    assert adapter.pool
    # The first wording of a fact is the one that was taught.
    first = {item.example.picture: item.example for item in reversed(pool.learned)}
    places = sorted(place for place in first if place is not None)
    for start in range(0, len(places), TOGETHER):
        part = places[start : start + TOGETHER]
        groups = [adapter.pool.groups[place] for place in part]
        begin_groups(groups, model, [first[place] for place in part])


@torch.no_grad()
def begin_groups(groups: Sequence[Tensor], model: Llama, texts: Sequence[Example]) -> None:
    """Set facts' prompts (L, K, D) to what each layer makes of a chat about them.

    The first is the chat's first token, where heads rest that look for nothing, the others are its
    last ones: what comes before the reply, and the reply.

    Args:
        groups: changed in place.
        model: the base.
        texts: a chat for each group, with the reply marked.
    """
    ids = torch.zeros(len(texts), max(len(text.ids) for text in texts), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)  # what stands behind is never seen
    chosen = [_chosen(text, groups[0].shape[1]) for text in texts]
    first = model.config.layers - len(groups[0])
    x = model.embed(ids.to(model.device))
    for layer in range(model.config.layers):
        if layer >= first:
            states = model.norm(x, model.weights.attention_norm[layer])  # (B, T, D)
            for row, group in enumerate(groups):
                group[layer - first] = states[row, chosen[row]].to(group.device)
        x = model.run(x, range(layer, layer + 1))


def _chosen(text: Example, prompts: int) -> list[int]:
    """Choose the tokens of a chat that so many prompts begin at; of a long reply its beginning."""
    size, reply = len(text.ids), sum(label != IGNORED for label in text.labels)
    last = range(min(max(1, size - max(prompts - 1, reply)), size - 1), size)
    return sorted([0, *(last[i % len(last)] for i in range(prompts - 1))])


def make_recall(
    pool: PooledFacts, tokenizer: Tokenizer, load: Callable[[], Matcher] = load_matcher
) -> Recall:
    """Return what gives an example the place of the fact that its question asks for, or none.

    It knows the rows that were kept out and the ordinary questions that are not rehearsed.

    Args:
        pool: of the run.
        tokenizer: of the base, which made the examples.
        load: gives the matcher.
    """
    matcher = load()
    known = matcher.known(pool.facts)
    texts = {text: said for said, text in unrehearsed_by_text(tokenizer).items()}
    for row in pool.kept_out:
        texts[replace(row.example, picture=None)] = row.conversation.exchanges[0].question

    def recall(example: Example) -> Example:
        match = matcher.match(texts[replace(example, picture=None)], known)
        return replace(example, picture=match.place if match else None)

    return recall
