"""From examples to their loss, with an adapter on the frozen base, and where its prompts begin.

Two things are computed once. What the layers under the adapter make of a text never changes, and
many examples share their text (a question asked of a hundred pictures): `LowerLayerCache`. And what
the base itself foresees in the rehearsed texts: `FrozenBase.reference_distribution`.

Rehearsed texts are ordinary ones that the adapter must leave as they are. An adapter's prompts are
attended to by every token of every text. Taught a task alone, they change all of them: the
perplexity of ordinary text rose from 31 to 157 while appointments were learned. So each step shows
a few passages that the base wrote itself, and what the adapter changes there is part of the loss.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.dataset import Aim
from demo.finetune.data.examples import IGNORED, Example, encode
from demo.finetune.data.paraphrase import QUESTIONS, PooledFacts
from demo.finetune.train.config import FACTS_GATE, TrainingOptions
from demo.llama.model import Llama
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.llama.training import CompiledLayers, TorchLayers, adapted_layers, make_head
from demo.settings import ROOT

Text = tuple[int, ...]  # token ids
GROUP = 16  # texts, of similar length, that are computed together
PASSAGES = ROOT / "assets" / "rehearsal.txt"
PASSAGE_TOKENS = 32
REPLY_TOKENS = 8  # of each that are rehearsed
KEPT_OUT = 14  # one question of so many is not rehearsed
BEGIN_TOKENS = 384  # of a text that prompts begin at
TOGETHER = 16  # facts whose texts are run at once
TO_A_PASSAGE = 4  # questions


class FrozenBase:
    """The base with an adapter in its last layers; only the adapter gets gradients.

    Args:
        model: the base.
        layers: how many of the last ones an adapter reaches.
        examples: all that will be asked for.

    Attributes:
        model: the base.
        head: from final hidden states to losses.
    """

    def __init__(self, model: Llama, layers: int, examples: Sequence[Example]) -> None:
        self.model, self.head = model, make_head(model)
        self._above = adapted_layers(model)
        self._lower = LowerLayerCache(model, self._above, model.config.layers - layers, examples)
        self._reference: dict[Example, Tensor] = {}

    def forward(
        self,
        adapter: Adapter,
        examples: Sequence[Example],
        features: Tensor | None,
        *,
        strength: float = 1.0,
    ) -> Tensor:
        """Return final hidden states (N, D) of the examples' N tokens, one after the other.

        Args:
            adapter: that is on.
            examples: either all with a picture or all without.
            features: (pictures, S), what the examples' `picture` counts.
            strength: of the adapter; 0 is the base.
        """
        lengths = torch.tensor([len(example.ids) for example in examples])
        rows = [example.picture for example in examples]
        seen = None if features is None or rows[0] is None else features[rows]
        seen = None if seen is None else seen.to(self.model.device, torch.float32)
        prefix = adapter.prefix(self.model, seen, strength=strength)
        below = self._lower.of(examples)
        if adapter.changes is None:
            alike = _alike([example.ids for example in examples]) if seen is None else None
            return self.model.finish(self._above(below, lengths, prefix, alike))
        delta = adapter.delta(self.model, strength=strength)
        above = TorchLayers(self.model)(below, lengths, prefix, delta=delta)
        return self.model.finish(above, delta)

    def reference_distribution(self, adapter: Adapter, texts: Sequence[Example]) -> Tensor:
        """Return the base's `head.teacher_summary` of texts' marked tokens, computed once each."""
        if new := [text for text in texts if text not in self._reference]:
            with torch.no_grad():
                hidden = self.forward(adapter, new, None, strength=0.0)
                found = self.head.teacher_summary(hidden[_known(new)])
            parts = found.split([sum(x != IGNORED for x in text.labels) for text in new])
            self._reference.update(zip(new, (part.clone() for part in parts), strict=True))
        return torch.cat([self._reference[text] for text in texts])


@torch.no_grad()
def begin_at(adapter: Adapter, model: Llama, ids: Sequence[int], seed: int) -> None:
    """Set each layer's prompts to what it makes of a text: its normalised hidden states.

    In the embedded base N(0, 1) is three to four times as large as what a layer's attention
    reads, and its values four to seven times: gates open by 0.01 cost 9 % of perplexity. These
    are of the right size, and their keys and values are those that the base attends to with the
    text before it (as a trained cache begins in arXiv 2506.06266). The first prompt is the
    text's first token, to which heads attend that look for nothing (arXiv 2309.17453), so a
    question that is not about the text finds a place to rest. Gates stay as they are.

    Args:
        adapter: whose prompts are set.
        model: the base.
        ids: of the text, at least one token; only the first `BEGIN_TOKENS` are read.
        seed: of the choice among tokens.
    """
    ids = list(ids)[: min(BEGIN_TOKENS, len(model.cos))]
    random = torch.Generator().manual_seed(seed)
    # Few tokens for many prompts are taken again.
    rounds = adapter.spec.prompts // len(ids) + 1
    drawn = torch.cat([torch.randperm(len(ids), generator=random) for _ in range(rounds)])
    drawn[0] = 0
    chosen = drawn[: adapter.spec.prompts].sort().values.tolist()
    _set_to_states([adapter.prompts], model, torch.tensor([ids]), [chosen])


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
        begin_pool_at(groups, model, [first[place] for place in part])


@torch.no_grad()
def begin_pool_at(groups: Sequence[Tensor], model: Llama, texts: Sequence[Example]) -> None:
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
    _set_to_states(groups, model, ids, chosen)


def _set_to_states(
    groups: Sequence[Tensor], model: Llama, ids: Tensor, chosen: Sequence[Sequence[int]]
) -> None:
    """Set prompts (L, K, D) to each layer's normalised states of chosen tokens, of ids (B, T)."""
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


def _alike(texts: Sequence[Text]) -> Tensor:
    """Count the tokens at each text's beginning that are the first one's too, (B,); 0 for itself.

    Of a chat it is half of a short one: the template's system prompt.
    """
    first, counts = texts[0], [0]
    for text in texts[1:]:
        pairs = zip(first, text[:-1], strict=False)  # at least one token is its own
        most = min(len(first), len(text) - 1)
        counts.append(next((n for n, (a, b) in enumerate(pairs) if a != b), most))
    return torch.tensor(counts)


class LowerLayerCache:
    """Hidden states that enter layer `first`, by token ids.

    A product of matrices rounds differently in other company: padded to another length, the same
    text differs in its last bits. A run that is resumed meets its texts in another order than one
    that was never stopped, and must end in the same bytes. So which texts are computed together,
    and which are kept at all, follows from the examples alone.

    Args:
        model: the base.
        layers: what runs them, and nothing else at the same time.
        first: the lowest adapted layer, from 0.
        examples: all that will be asked for; what is kept is planned from them.
        limit_bytes: of what is kept. Texts beyond it are computed each time they are asked for.
    """

    def __init__(
        self,
        model: Llama,
        layers: CompiledLayers | TorchLayers,
        first: int,
        examples: Sequence[Example],
        limit_bytes: int = 512 * 2**20,
    ) -> None:
        self._model, self._layers, self._first = model, layers, first
        self._kept: dict[Text, Tensor] = {}
        self._group: dict[Text, list[Text]] = {}
        texts = sorted({example.ids for example in examples}, key=lambda ids: (len(ids), ids))
        room = limit_bytes if first else 0  # an embedding is looked up as fast as what is kept
        for start in range(0, len(texts), GROUP):
            group = texts[start : start + GROUP]
            room -= sum(map(len, group)) * model.config.width * 4
            if room < 0:
                break
            self._group.update(dict.fromkeys(group, group))

    def of(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, T, D) fp32 of a batch, zero where an example is shorter than the longest."""
        asked = dict.fromkeys(example.ids for example in examples)
        for ids in asked:
            if ids in self._group and ids not in self._kept:
                self._kept.update(self._compute(self._group[ids]))
        others = [ids for ids in asked if ids not in self._group]
        states = {**self._kept, **self._compute(others)} if others else self._kept
        longest = max(map(len, asked))
        out = torch.zeros(
            len(examples), longest, self._model.config.width, device=self._model.device
        )
        for row, example in enumerate(examples):
            out[row, : len(example.ids)] = states[example.ids]
        return out

    def _compute(self, texts: list[Text]) -> dict[Text, Tensor]:
        longest = max(map(len, texts))
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
        sizes = [len(text) for text in texts]
        with torch.no_grad():
            embedded = self._model.embed(ids.to(self._model.device))
        if self._first:
            lengths = torch.tensor(sizes)
            below = self._layers.without_prompts(embedded, lengths, self._first, _alike(texts))
            states = below.split(sizes)
        else:
            states = [embedded[row, :size] for row, size in enumerate(sizes)]
        return {text: part.clone() for text, part in zip(texts, states, strict=True)}


def loss_of(
    frozen: FrozenBase,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    rehearsed: Sequence[Example] = (),
    *,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Return the mean cross-entropy of the marked tokens, and what changes in `rehearsed` texts.

    In nats. The softmax is made of those tokens alone.

    Args:
        frozen: the base.
        adapter: that learns.
        examples: of the batch, all with a picture or all without.
        features: (pictures, S), what the examples' `picture` counts.
        rehearsed: texts that are to stay as they are.
        weights: of the two parts; less where other processes compute the rest of a batch.
    """
    reference = frozen.reference_distribution(adapter, rehearsed) if rehearsed else None
    hidden = frozen.forward(adapter, [*examples, *rehearsed], features)
    labels = labels_of(examples).to(hidden.device)
    known = labels != IGNORED
    taught = hidden[: len(labels)][known]
    loss = weights[0] * frozen.head.cross_entropy(taught, labels[known]).mean()
    if reference is None:
        return loss
    kept = hidden[len(labels) :][_known(rehearsed).to(hidden.device)]
    change = frozen.head.kl_divergence(kept, reference).mean()
    return loss + weights[1] * change


def labels_of(examples: Sequence[Example]) -> Tensor:
    """Return the labels (N,) of all tokens, one example after the other."""
    return torch.tensor([label for example in examples for label in example.labels])


def _known(examples: Sequence[Example]) -> Tensor:
    """Return which of all tokens (N,) are marked."""
    return labels_of(examples) != IGNORED


def gates_of(adapter: Adapter) -> tuple[float, ...]:
    """Return how far the gates of each layer are open, the mean over heads, rounded for a log."""
    means = adapter.opening().detach().abs().mean(1)
    return tuple(round(mean, 6) for mean in means.tolist())


def passages(tokenizer: Tokenizer) -> tuple[Example, ...]:
    """Return beginnings of ordinary texts, to be rehearsed."""
    texts = PASSAGES.read_text("utf-8").split("\n\n")
    ids = [tuple(tokenizer.encode_text(text)[: PASSAGE_TOKENS + 1]) for text in texts]
    return tuple(Example(text[:-1], text[1:]) for text in ids)


def rehearsed_texts(tokenizer: Tokenizer, aim: Aim) -> tuple[Example, ...]:
    """Return what is rehearsed in turns: beside facts some ordinary questions to each passage."""
    texts = passages(tokenizer)
    if aim != "facts":
        return texts
    questions = [text for place, _, text in _questions(tokenizer) if place % KEPT_OUT]
    random.Random(0).shuffle(questions)  # the file goes by subject, and a short run sees few
    groups = zip(*(questions[i::TO_A_PASSAGE] for i in range(TO_A_PASSAGE)), strict=False)
    return tuple(
        text for place, group in enumerate(groups) for text in (*group, texts[place % len(texts)])
    )


def unrehearsed_questions(tokenizer: Tokenizer) -> tuple[Example, ...]:
    """Return the ordinary questions that are never rehearsed, to tell what an adapter changes."""
    return tuple(unrehearsed_by_text(tokenizer).values())


def unrehearsed_by_text(tokenizer: Tokenizer) -> dict[str, Example]:
    """Return `unrehearsed_questions` by their text."""
    return {said: text for place, said, text in _questions(tokenizer) if place % KEPT_OUT == 0}


def _questions(tokenizer: Tokenizer) -> Iterator[tuple[int, str, Example]]:
    """Yield ordinary questions with their place and text, whose replies are to stay the base's own.

    What the reply's words are hardly matters, because it is the base's distribution after each of
    them that is kept. Only its beginning is rehearsed: there it is decided what is answered. None
    learns to end where it is cut.
    """
    for place, line in enumerate(QUESTIONS.read_text("utf-8").splitlines()):
        question, reply = line.split("\t")
        example = encode(tokenizer, [Exchange(question, reply)])
        first = next(i for i, label in enumerate(example.labels) if label != IGNORED)
        end = min(first + REPLY_TOKENS, len(example.ids) - 1)
        yield place, question, Example(example.ids[:end], example.labels[:end])
