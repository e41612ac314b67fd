"""How well an adapter does: loss, exact replies, answers, and what it costs on ordinary text."""

import base64
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.data.examples import IGNORED, Example
from demo.finetune.data.paraphrase import PooledFacts
from demo.finetune.data.pictures import SeenPicture
from demo.finetune.train.events import Compared, FinalEvaluation
from demo.finetune.train.loss import (
    FrozenBase,
    labels_of,
    unrehearsed_by_text,
    unrehearsed_questions,
)
from demo.llama.decoder import TokenDecoder
from demo.llama.model import Llama
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.questions.matcher import Matcher, load_matcher
from demo.settings import ROOT
from demo.vision.image import thumbnail

ORDINARY = ROOT / "assets" / "ordinary.txt"
ORDINARY_TOKENS = 400
COMPARED = 6  # rows shown side by side
WRONG_SHOWN = 24  # facts that it does not know, shown in any case
MOST_TAUGHT = 200  # facts that are asked at the end
THUMBNAIL = 128  # pixels, of the picture that such a row is about
MAX_REPLY = 48  # tokens
Recall = Callable[[Example], Example]


@dataclass(frozen=True)
class ProbeQuestion:
    """A question that an adapter is asked while it learns.

    Attributes:
        text: as a person reads it.
        ids: (T,) as the model reads it.
        picture: the row of the picture's features, None without a picture.
        expected: the reply, where it is known.
    """

    text: str
    ids: tuple[int, ...]
    picture: int | None = None
    expected: str = ""

    @classmethod
    def of(cls, text: str, example: Example, tokenizer: Tokenizer) -> "ProbeQuestion":
        """Cut an example before its first reply that is learned.

        Args:
            text: what a person is shown.
            example: to be cut.
            tokenizer: that decodes the reply.
        """
        first = next(i for i, label in enumerate(example.labels) if label != IGNORED)
        reply = []
        for label in example.labels[first:]:
            if label == IGNORED:
                break
            reply.append(label)
        return cls(text, example.ids[: first + 1], example.picture, tokenizer.decode(reply))


class Measured(NamedTuple):
    """Mean loss in nats a marked token, and the share of exact replies, 0 to 1."""

    loss: float
    exact: float


def final_evaluation(
    model: Llama,
    tokenizer: Tokenizer,
    decoder: TokenDecoder,
    adapter: Adapter,
    held_out: Sequence[Example],
    features: Tensor | None,
    asked: Sequence[ProbeQuestion],
    *,
    room: int,
    pictures: Sequence[SeenPicture] = (),
    taught: bool = False,
    otherwise: Sequence[Example] = (),
    recall: Recall | None = None,
) -> FinalEvaluation:
    """Measure with the adapter and without, by the same passes over the same rows.

    Args:
        model: the base.
        tokenizer: of the base.
        decoder: for the replies.
        adapter: at the end of its run.
        held_out: rows to measure on; all with a picture or all without.
        features: (pictures, S), what the rows' `picture` counts.
        asked: rows to be shown side by side; the first `COMPARED` are.
        room: slots of the decoder.
        pictures: what the features are of.
        taught: whether `asked` are facts that were learned: each is asked, and those that it does
            not know are shown first.
        otherwise: the same facts in wordings that were not learned.
        recall: which fact a question asks for, of an adapter that has prompts for each; the
            `picture` of the examples and questions is then replaced by what it says.
    """
    metrics: dict[str, float] = {}
    frozen = FrozenBase(model, adapter.spec.reach(model.config), held_out)
    tokens = tokenizer.encode_text(ORDINARY.read_text("utf-8"))[:ORDINARY_TOKENS]
    texts = perplexities(model, adapter, tokens)
    for end, strength, ordinary in zip(("_base", ""), (0.0, 1.0), texts, strict=True):
        if held_out:
            found = measure(frozen, adapter, held_out, features, strength=strength)
            metrics["held_out_loss" + end] = round(found.loss, 4)
            metrics["held_out_exact" + end] = round(found.exact, 4)
        metrics["perplexity" + end] = round(ordinary, 3)
    ask = partial(_replies, decoder, model, tokenizer, adapter, features, room, taught)
    shown = list(asked[: MOST_TAUGHT if taught else COMPARED])
    replies = ask(shown, 1.0)
    if taught:
        expected = [normalised_reply(question.expected) for question in shown]
        known = [normalised_reply(r) == e for r, e in zip(replies, expected, strict=True)]
        metrics |= {"taught": float(len(known)), "taught_known": float(sum(known))}
        asked_so = otherwise[:MOST_TAUGHT]
        if recall is None:
            metrics |= _around_facts(model, tokenizer, adapter, asked_so)
        else:
            said = list(map(recall, asked_so))
            metrics |= _around_pool(model, tokenizer, adapter, features, said, recall)
        order = sorted(range(len(known)), key=lambda place: known[place])
        order = order[: max(COMPARED, min(WRONG_SHOWN, known.count(False)))]
        shown, replies = [shown[place] for place in order], [replies[place] for place in order]
    rows = [
        Compared(q.text, q.expected, base, reply, thumbnail_text(q, pictures))
        for q, base, reply in zip(shown, ask(shown, 0.0), replies, strict=True)
    ]
    return FinalEvaluation(metrics, tuple(rows))


def _around_facts(
    model: Llama, tokenizer: Tokenizer, adapter: Adapter, otherwise: Sequence[Example]
) -> dict[str, float]:
    """Measure facts asked otherwise, and ordinary answers, of which none was rehearsed."""
    found: dict[str, float] = {}
    ordinary = unrehearsed_questions(tokenizer)
    frozen = FrozenBase(model, adapter.spec.layers, [*otherwise, *ordinary])
    if otherwise:
        share = measure(frozen, adapter, otherwise, None).exact
        found |= {"otherwise": len(otherwise), "otherwise_known": round(share * len(otherwise))}
    base, ours = (_hits(frozen, adapter, ordinary, None, s)[1] for s in (0.0, 1.0))
    if base.any():
        # Of the words that the base itself would say next, those that are still the likeliest.
        found["ordinary_kept"] = round((base & ours).sum().item() / base.sum().item(), 4)
    return {name: float(value) for name, value in found.items()}


def _around_pool(
    model: Llama,
    tokenizer: Tokenizer,
    adapter: Adapter,
    features: Tensor | None,
    otherwise: Sequence[Example],
    recall: Recall,
) -> dict[str, float]:
    """Measure what `_around_facts` does where a question chooses its prompts, or none.

    Whatever chooses none is answered as by the base.
    """
    found: dict[str, float] = {}
    chosen = [example for example in otherwise if example.picture is not None]
    texts = unrehearsed_questions(tokenizer)
    ordinary = [recall(text) for text in texts]
    taken = [example for example in ordinary if example.picture is not None]
    frozen = FrozenBase(model, adapter.spec.layers, [*chosen, *texts])
    if otherwise:
        share = measure(frozen, adapter, chosen, features).exact if chosen else 0.0
        known = float(round(share * len(chosen)))
        found |= {"otherwise": float(len(otherwise)), "otherwise_known": known}
    base = _hits(frozen, adapter, texts, None, 0.0)[1]
    if base.any():
        lost = 0
        if taken:
            before, after = (
                _hits(frozen, adapter, taken, features, strength)[1] for strength in (0.0, 1.0)
            )
            lost = int((before & ~after).sum())
        found["ordinary_kept"] = round(1 - lost / int(base.sum()), 4)
    return found


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


def _replies(
    decoder: TokenDecoder,
    model: Llama,
    tokenizer: Tokenizer,
    adapter: Adapter,
    features: Tensor | None,
    room: int,
    whole: bool,
    questions: Sequence[ProbeQuestion],
    strength: float,
) -> list[str]:
    """Answer any number of questions; `whole`: as far as tells whether the reply is as expected."""
    replies: list[str] = []
    for start in range(0, len(questions), room):
        part = questions[start : start + room]
        sizes = [len(tokenizer.encode_text(question.expected)) for question in part]
        replies += answers(
            decoder, model, tokenizer, adapter, part, features,
            strength=strength, longest=4 + max(sizes) if whole and strength else MAX_REPLY,
        )  # fmt: skip
    return replies


def normalised_reply(text: str) -> str:
    """Bring a reply into a form to compare: without case, spacing and marks between words."""
    words = re.findall(r"\w+(?:[.,:/@-]\w+)*", text.casefold())
    return " ".join(words) or text.strip()


def measure(
    frozen: FrozenBase,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    *,
    strength: float = 1.0,
    batch: int = 32,
) -> Measured:
    """Measure loss and exactness of examples in one pass.

    Args:
        frozen: the base.
        adapter: that is on.
        examples: all with a picture or all without.
        features: (pictures, S), what the examples' `picture` counts.
        strength: of the adapter; 0 measures the base.
        batch: examples passed over at once.
    """
    total, tokens, right = 0.0, 0, 0
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        losses, hits = _judge(frozen, adapter, part, features, strength)
        total += losses.double().sum().item()
        tokens += len(losses)
        right += sum(hits)
    return Measured(total / tokens, right / len(examples))


def exact(
    model: Llama,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    *,
    batch: int = 64,
) -> Iterator[bool]:
    """Yield for each example whether greedy decoding gives all its marked tokens.

    Greedy decoding reproduces a text exactly when each of its tokens, its end included, is the
    likeliest after those before it, so one pass over the expected text decides. Examples with the
    same text share what the layers below the adapter compute.

    Args:
        model: the base.
        adapter: that is on.
        examples: all with a picture or all without.
        features: (pictures, S), what the examples' `picture` counts.
        batch: examples passed over at once.
    """
    frozen = FrozenBase(model, adapter.spec.reach(model.config), examples)
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        yield from _judge(frozen, adapter, part, features, 1.0)[1]


def perplexities(model: Llama, adapter: Adapter, ids: Sequence[int]) -> tuple[float, float]:
    """Return the perplexity of a plain text for the base, and with the adapter; at most e^700 each.

    Args:
        model: the base.
        adapter: that is on the second time.
        ids: (T,) of the text, T at least 2; its first token is given.
    """
    text = Example(tuple(ids[:-1]), tuple(ids[1:]))
    frozen = FrozenBase(model, adapter.spec.reach(model.config), [text])
    off, on = (measure(frozen, adapter, [text], None, strength=s).loss for s in (0.0, 1.0))
    # A diverged adapter may pass what fits a double.
    return math.exp(min(off, 700.0)), math.exp(min(on, 700.0))


def thumbnail_text(question: ProbeQuestion, pictures: Sequence[SeenPicture]) -> str:
    """Return the picture that a question is about for a log, small and in base64; "" for none."""
    if question.picture is None or not pictures:
        return ""
    return base64.b64encode(thumbnail(pictures[question.picture].open(), THUMBNAIL)).decode()


def _hits(
    frozen: FrozenBase,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    strength: float,
) -> tuple[Tensor, Tensor]:
    """Return each marked token's loss, and whether it is the likeliest."""
    # Not inference mode: the lower layers' states are kept, and used in training too.
    with torch.no_grad():
        hidden = frozen.forward(adapter, examples, features, strength=strength)  # (N, D)
        labels = labels_of(examples).to(hidden.device)
        known = labels != IGNORED
        return frozen.head.losses_and_hits(hidden[known], labels[known])


def _judge(
    frozen: FrozenBase,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    strength: float,
) -> tuple[Tensor, list[bool]]:
    """Return each marked token's loss, and whether all of an example's are the likeliest."""
    losses, hits = _hits(frozen, adapter, examples, features, strength)
    counts = [sum(label != IGNORED for label in example.labels) for example in examples]
    return losses, [bool(part.all()) for part in hits.split(counts)]


def answers(
    decoder: TokenDecoder,
    model: Llama,
    tokenizer: Tokenizer,
    adapter: Adapter,
    questions: Sequence[ProbeQuestion],
    features: Tensor | None,
    *,
    strength: float = 1.0,
    longest: int = MAX_REPLY,
) -> tuple[str, ...]:
    """Answer questions, in order.

    Args:
        decoder: with a slot for each question.
        model: the base.
        tokenizer: of the base.
        adapter: that learns.
        questions: to be answered.
        features: (pictures, S), what the questions' `picture` counts.
        strength: of the adapter; 0 asks the base.
        longest: tokens of a reply.
    """
    # The decoder follows the machine's load and sets torch's threads; a training step must have
    # the same number as every other, because sums of matrices depend on it.
    threads = torch.get_num_threads()
    try:
        ids: list[list[int]] = []
        for slot, question in enumerate(questions):
            with torch.no_grad():
                picture = question.picture
                seen = None
                if picture is not None and features is not None:
                    seen = features[[picture]].to(model.device, torch.float32)
                prefix = adapter.prefix(model, seen, strength=strength)
                delta = adapter.delta(model, strength=strength)
            logits = decoder.prefill(slot, list(question.ids), prefix, delta=delta)
            ids.append([int(np.argmax(logits))])
        _decode(decoder, questions, ids, tokenizer.stop_ids, longest)
    finally:
        torch.set_num_threads(threads)
    return tuple(tokenizer.decode(t for t in row if t not in tokenizer.stop_ids) for row in ids)


def _decode(
    decoder: TokenDecoder,
    questions: Sequence[ProbeQuestion],
    ids: list[list[int]],
    stops: frozenset[int],
    longest: int,
) -> None:
    """Add tokens to each row of `ids` until it ends."""
    while True:
        open_ = [
            slot for slot, row in enumerate(ids) if row[-1] not in stops and len(row) < longest
        ]
        if not open_:
            return
        token = np.array([ids[slot][-1] for slot in open_])
        position = np.array([len(questions[slot].ids) + len(ids[slot]) - 1 for slot in open_])
        logits = decoder.step(token, np.array(open_), position)
        for slot, row in zip(open_, logits, strict=True):
            ids[slot].append(int(np.argmax(row)))
