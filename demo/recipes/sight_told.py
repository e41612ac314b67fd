"""What a perfect projection would say: names as the base itself reads them where they are written.

An adapter's prompts are keys and values like those of a text. "The picture shows a king penguin, a
bird, an animal." leaves states in the base that its own heads can copy from; put in the prompts'
place, behind open gates, they are understood before anything is learned. So how to answer is
learned from them, without a tower: that takes minutes, holds for names that were never asked for,
and needs no repeating when the tower changes. `sight_memory.py` makes a projection that says them;
`sight_fit.py` teaches others to.

Sizes: K kinds, Q prompts of a layer, D model width, N looks.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from demo.adapter.adapter import Adapter
from demo.adapter.visual import KeyValueMemory, for_each
from demo.llama.model import Llama
from demo.llama.tokenizer import Tokenizer
from demo.recipes.sight_kinds import same_group
from demo.recipes.sight_lessons import Known
from demo.recipes.sight_pictures import MEDIA, UNKNOWN, Seen

WRITTEN = ("The picture shows", " {name}", ",", " {group}", ",", " {top}")
WRITTEN_NEXT = ("It may also be", " {name}", ",", " {group}")
NEXT = (5, 3)  # prompts that tell name and group of what is second likeliest
RIVAL = 0.05  # share from which it is worth a word
OPEN = 0.5  # tanh of the gates to begin with
FAINT = 0.05  # deviation of the prompts' own numbers
SHARP = 8.0  # factor of the logits from which a name is chosen
REAL = 0.5  # of looks are told as a memory sees them
SHARPER = 0.6, 1.4  # factors of its logits: photographs it was taught with look too sure to it
CHUNK = 1000
TOGETHER = 32  # texts read at once
CLEAR, HAZY = 0.5, 0.25  # shares of looks told surely, and told by their group alone


class Told(nn.Module):
    """In a projection's place: (B, K) shares of kinds → what is to be said of them, (B, Q, D).

    The last `seconds` prompts are told what is second likeliest.
    """

    def __init__(self, aim: Tensor, seconds: int = 0) -> None:
        super().__init__()
        self.seconds = seconds
        self.register_buffer("aim", aim)
        self.register_buffer("sharpness", sharpness_of(aim.shape[1], seconds))

    def forward(self, shares: Tensor) -> Tensor:
        logits = for_each(shares.clamp_min(1e-6).log(), len(self.sharpness), self.seconds)
        sharp = (self.sharpness[:, None] * logits).softmax(-1)  # (B, Q, K)
        return torch.einsum("bqk,kqd->bqd", sharp, self.aim)


def places_of(prompts: int) -> tuple[int, int, int, int]:
    """How many prompts tell the name, the group, the top word and how sure the name is.

    16 → 6, 4, 2, 2. Each has its own, so that what two kinds have in common stays clear when they
    are mixed. The others say nothing of the picture: how to answer at all is learned by them.
    """
    return -(-3 * prompts // 8), prompts // 4, prompts // 8, prompts // 8


def sharpness_of(prompts: int, seconds: int = 0) -> Tensor:
    """(Q,): the name is the likeliest one's; all else is mixed, so that it says how sure it is.

    A name from a mixture of many is a slip of the tongue: "a stick" for a stick insect.
    """
    found = torch.ones(prompts)
    found[: places_of(prompts - seconds)[0]] = SHARP
    found[prompts - seconds :] = SHARP
    return found


def written_states(
    model: Llama,
    tokenizer: Tokenizer,
    kinds: Sequence[Known],
    layers: int,
    prompts: int,
    seconds: int = 0,
) -> Tensor:
    """(K, Q, D): the words for each kind as the last `layers` layers read them.

    Of the name, the group, the top word, and of the name once more, then zeros; in the last
    `seconds` places, which are none or as many as `NEXT` says, of name and group as of a second
    guess.
    """
    if seconds not in (0, sum(NEXT)):
        raise ValueError(f"{seconds} prompts for a second guess, not {sum(NEXT)}")
    counts, found = places_of(prompts - seconds), []
    first = _read(model, tokenizer, WRITTEN, kinds, layers)
    then = _read(model, tokenizer, WRITTEN_NEXT, kinds, layers) if seconds else [[]] * len(kinds)
    for (name, group, top), second in zip(first, then, strict=True):
        said = [*map(_placed, (name, group, top, name), counts)]
        said.append(name.new_zeros(prompts - seconds - sum(counts), name.shape[1]))
        found.append(torch.cat([*said, *map(_placed, second, NEXT)]))
    return torch.stack(found)


def _placed(states: Tensor, count: int) -> Tensor:
    """A word's states (T, D) in `count` places; its last one stands in all that are left."""
    return states[torch.arange(count).clamp(max=len(states) - 1)]


def _read(
    model: Llama,
    tokenizer: Tokenizer,
    pieces: Sequence[str],
    kinds: Sequence[Known],
    layers: int,
) -> list[list[Tensor]]:
    """Of each kind the states (T, D) of each word that was put in, many texts at once."""
    texts = [_filled(tokenizer, pieces, kind) for kind in kinds]
    alike: dict[int, list[int]] = defaultdict(list)
    for at, (ids, _) in enumerate(texts):
        alike[len(ids)].append(at)
    found: list[list[Tensor]] = [[]] * len(kinds)
    for rows in alike.values():
        for start in range(0, len(rows), TOGETHER):
            part = rows[start : start + TOGETHER]
            states = _entering(model, torch.tensor([texts[at][0] for at in part]), layers)
            for at, own in zip(part, states, strict=True):
                found[at] = [own[begin:end] for begin, end in texts[at][1]]
    return found


def _filled(
    tokenizer: Tokenizer, pieces: Sequence[str], known: Known
) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokens of the pieces, and where the words that were put in stand."""
    ids: list[int] = []
    spans = []
    for piece in pieces:
        part = tokenizer.encode_text(
            piece.format(name=known.name, group=known.group, top=known.top)
        )
        if "{" in piece:
            spans.append((len(ids), len(ids) + len(part)))
        ids += part
    return ids, spans


@torch.no_grad()
def _entering(model: Llama, ids: Tensor, layers: int) -> Tensor:
    """(B, T) → (B, T, D): mean over the last layers of what enters attention."""
    first = model.config.layers - layers
    x = model.run(model.embed(ids), range(first))
    total = torch.zeros_like(x)
    for layer in range(first, model.config.layers):
        total += model.norm(x, model.weights.attention_norm[layer])
        x = model.run(x, range(layer, layer + 1))
    return total.float() / layers


def targets(
    model: Llama,
    tokenizer: Tokenizer,
    kinds: Sequence[Known],
    layers: int,
    prompts: int,
    seconds: int = 0,
) -> tuple[Tensor, Tensor]:
    """What is common to all kinds, (Q, D), and what is to be said of each besides, (K, Q, D)."""
    said = written_states(model, tokenizer, kinds, layers, prompts, seconds)
    return said.mean(0), said - said.mean(0)


@torch.no_grad()
def open_up(adapter: Adapter, centre: Tensor) -> None:
    """Prompts say what is common to all kinds, (Q, D), and the gates let it through."""
    adapter.prompts.copy_(centre + FAINT * adapter.prompts)
    adapter.gate.fill_(torch.tensor(OPEN).atanh())


def told(
    seen: Seen, kinds: Sequence[Known], seed: int, memory: KeyValueMemory | None = None
) -> Seen:
    """The same looks as `Told` takes them: features are shares of kinds, (N, K) fp16.

    Scenes are told as they are. Of the others some are clear, some only in their group, some
    not; `fine` and `coarse` say so, and what is learned to be said follows them.

    With a memory, half of those looks are told as it sees them, as if what it takes them for were
    true: what is to be learned is to say what is seen. Kinds that are taken for each other are
    mixed as they will be; the other half is what shows every kind equally often.
    """
    chance = random.Random(seed)
    seen = replace(seen, kinds=seen.kinds.clone())
    real = _as_seen(memory, seen, seed) if memory else {}
    near: dict[str, list[int]] = defaultdict(list)
    for number, kind in enumerate(kinds):
        near[kind.group].append(number)
    shares = torch.zeros(len(seen.kinds), len(kinds))
    for row, (kind, medium) in enumerate(
        zip(seen.kinds.tolist(), seen.medium.tolist(), strict=True)
    ):
        if kind == UNKNOWN:
            continue
        if MEDIA[medium] == "scene":
            shares[row, kind] = 1
            continue
        if row in real:
            shares[row] = real[row]
            seen.kinds[row] = shares[row].argmax()
            continue
        for number, share in _mixed(kind, near[kinds[kind].group], len(kinds), chance):
            shares[row, number] += share
    same = same_group(kinds)  # (K, K)
    at = seen.kinds.clamp(min=0)
    known = (seen.kinds != UNKNOWN).float()
    fine = shares.gather(1, at[:, None])[:, 0] * known
    coarse = (shares * same[at]).sum(1) * known
    return replace(seen, features=shares.half(), fine=fine, coarse=coarse)


def rivals(shares: Tensor) -> Tensor:
    """Shares of kinds (N, K) → the number of the second likeliest, (N,); -1 where it hardly is."""
    found = shares.float().topk(2)
    return torch.where(found.values[:, 1] < RIVAL, UNKNOWN, found.indices[:, 1])


@torch.no_grad()
def _as_seen(memory: KeyValueMemory, seen: Seen, seed: int) -> dict[int, Tensor]:
    """Shares of kinds by row, of half the looks that are no scenes, more and less sharp."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nonzero((seen.medium != MEDIA.index("scene")) & (seen.kinds != UNKNOWN))[:, 0]
    rows = rows[torch.rand(len(rows), generator=generator) < REAL]
    found = {}
    for part in rows.split(CHUNK):
        low, high = SHARPER
        factor = low + (high - low) * torch.rand(len(part), 1, generator=generator)
        logits = memory.logits(seen.features[part].float())  # (B, K)
        found.update(zip(part.tolist(), (factor * logits).softmax(1), strict=True))
    return found


def _mixed(
    kind: int, near: Sequence[int], total: int, chance: random.Random
) -> list[tuple[int, float]]:
    """Shares of a kind and of others that it is taken for; its own is the largest."""
    others = [other for other in chance.sample(range(total), 3) if other != kind]
    alike = [other for other in near if other != kind]
    alike = chance.sample(alike, min(3, len(alike))) or others
    level = chance.random()
    if level < CLEAR:
        own, group = chance.uniform(0.55, 1), chance.random()
    elif level < CLEAR + HAZY:
        own, group = chance.uniform(0.3, 0.45), chance.uniform(0.7, 1)
    else:
        own, group = chance.uniform(0.25, 0.4), chance.uniform(0, 0.3)
    found = [(other, group / len(alike)) for other in alike]
    found += [(other, (1 - group) / len(others)) for other in others]
    most = max(share for _, share in found)
    own = max(own, most / (1 + most) + 0.01)  # one rival alone would be the likelier
    return [(kind, own), *((other, share * (1 - own)) for other, share in found)]
