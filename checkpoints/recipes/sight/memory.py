"""What a perfect projection would say, and a memory that says it with the tower's own captions.

An adapter's prompts are keys and values like those of a text. "The picture shows a king penguin, a
bird, an animal." leaves states in the base that its own heads can copy from; put in the prompts'
place, behind open gates, they are understood before anything is learned. So how to answer is
learned from such oracle features, without a tower: that takes minutes, holds for names that were
never asked for, and needs no repeating when the tower changes.

The tower was taught to put a picture near its caption. So the captions are the keys of a
`KeyValueMemory`, as sharp as the tower was taught with them, and those states are its values to
begin with. Colours are no tower's business: they are counted in the pixels, and the last prompts
tell them.

Sizes: K kinds, A colours, Q prompts of a layer, D model width, E numbers of the tower's common
space, S of its features.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from checkpoints.recipes.sight.questions import Known, Sure
from checkpoints.recipes.tower.zero_shot import embed_texts
from demo.adapter.adapter import LEAST_SHARE, Adapter, KeyValueMemory
from demo.llama.model import Llama
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.vision.clip import BASIC_COLOURS, Tower
from demo.vision.clip_loading import HUB, LOCAL

WRITTEN = ("The picture shows", " {name}", ",", " {group}", ",", " {top}")
WRITTEN_NEXT = ("It may also be", " {name}", ",", " {group}")
WRITTEN_COLOUR = "The picture shows a thing. Its colour is"
NEXT = (5, 3)  # prompts that tell name and group of what is second likeliest
COLOURED = 4  # prompts that tell the colour
OPEN = 0.5  # tanh of the gates to begin with
VALUE = 0.1  # deviation of the numbers by which a kind's value is mixed
FAINT = 0.05  # deviation of the prompts' own numbers
SHARP = 8.0  # factor of the logits from which a name is chosen
CLEARER = 2.0  # the same of colours
TOGETHER = 32  # texts read at once


class OracleProjection(nn.Module):
    """In a memory's place: (B, K + A) shares of kinds and colours → (B, Q, D), by its own values.

    So the values learn, and the keys do not.
    """

    def __init__(self, memory: KeyValueMemory) -> None:
        super().__init__()
        self.values, self.outer = memory.values, memory.outer
        # Not a part of this module, whose parameters are what learns.
        self._mixed, self._kinds = [memory.mixed], memory.keys.out_features

    def forward(self, shares: Tensor) -> Tensor:
        kinds, colours = shares.split((self._kinds, shares.shape[1] - self._kinds), 1)
        logits = kinds.clamp_min(1e-6).log()
        return self._mixed[0](logits, colours.clamp_min(LEAST_SHARE).log())


def places_of(prompts: int) -> tuple[int, int, int, int]:
    """Return how many prompts tell the name, the group, the top word and how sure the name is.

    16 → 6, 4, 2, 2. Each has its own, so that what two kinds have in common stays clear when they
    are mixed. The others say nothing of the picture: how to answer at all is learned by them.
    """
    return -(-3 * prompts // 8), prompts // 4, prompts // 8, prompts // 8


def sharpness_of(prompts: int, seconds: int = 0, coloured: int = 0) -> Tensor:
    """Return (Q,): sharp where the likeliest one's name is told; all else says how sure it is.

    A name from a mixture of many is a slip of the tongue: "a stick" for a stick insect. The last
    `coloured` ones tell a colour, and the more there is of it the surer.
    """
    found, named = torch.ones(prompts), prompts - coloured
    found[: places_of(named - seconds)[0]] = SHARP
    found[named - seconds : named] = SHARP
    found[named:] = CLEARER
    return found


def written_states(
    model: Llama,
    tokenizer: Tokenizer,
    kinds: Sequence[Known],
    layers: int,
    prompts: int,
    seconds: int = 0,
) -> Tensor:
    """Return (K, Q, D): the words for each kind as the last `layers` layers read them.

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
    """Return a word's states (T, D) in `count` places; its last one stands in all that are left."""
    return states[torch.arange(count).clamp(max=len(states) - 1)]


def _read(
    model: Llama,
    tokenizer: Tokenizer,
    pieces: Sequence[str],
    kinds: Sequence[Known],
    layers: int,
) -> list[list[Tensor]]:
    """Return for each kind the states (T, D) of each word that was put in, many texts at once."""
    every = [_filled(tokenizer, pieces, kind) for kind in kinds]
    texts = {tuple(ids): spans for ids, spans in every}  # many kinds share a text
    alike: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for ids in texts:
        alike[len(ids)].append(ids)
    found: dict[tuple[int, ...], list[Tensor]] = {}
    for rows in alike.values():
        for start in range(0, len(rows), TOGETHER):
            part = rows[start : start + TOGETHER]
            states = _entering(model, torch.tensor(part), layers)
            for ids, own in zip(part, states, strict=True):
                found[ids] = [own[begin:end] for begin, end in texts[ids]]
    return [found[tuple(ids)] for ids, _ in every]


def _filled(
    tokenizer: Tokenizer, pieces: Sequence[str], known: Known
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return tokens of the pieces, and where the words that were put in stand."""
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
    """Return for ids (B, T) the mean over the last layers of what enters attention, (B, T, D)."""
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
    coloured: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return what all kinds have in common, (Q, D), and what each adds to it, (K + A, Q, D).

    The last A are the basic colours, none where `coloured` is 0: a kind says nothing in the last
    `coloured` places, and a colour nothing in all others.
    """
    said = written_states(model, tokenizer, kinds, layers, prompts - coloured, seconds)
    if not coloured:
        return said.mean(0), said - said.mean(0)
    hues = []
    for colour in BASIC_COLOURS:
        ids = tokenizer.encode_text(WRITTEN_COLOUR)
        whole = tokenizer.encode_text(f"{WRITTEN_COLOUR} {colour}")
        states = _entering(model, torch.tensor([whole]), layers)[0, len(ids) :]
        hues.append(_placed(states, coloured))
    told = torch.stack(hues)  # (A, coloured, D)
    centre = torch.cat([said.mean(0), told.mean(0)])
    every = said.new_zeros(len(said) + len(told), *centre.shape)
    every[: len(said), : prompts - coloured] = said - said.mean(0)
    every[len(said) :, prompts - coloured :] = told - told.mean(0)
    return centre, every


@torch.no_grad()
def open_gates(adapter: Adapter, centre: Tensor) -> None:
    """Set prompts to what is common to all kinds, (Q, D), and gates that let it through."""
    adapter.prompts.copy_(centre + FAINT * adapter.prompts)
    adapter.gate.fill_(torch.tensor(OPEN).atanh())


# With this factor the probability of what the embedded tower takes photographs for is 79 % on the
# average, and 82 % are right: calibrated with every second full-size photograph.
SHARPER = 1.6
RIVALS = 12  # kinds that a kind may be taken for
CLEAR, HAZY = 0.5, 0.25  # shares of looks told surely, and torn between a few


@dataclass(frozen=True)
class Captions:
    """What a memory wants of a tower.

    Attributes:
        vectors: (K, E), unit vectors times the sharpness of the softmax over their cosines.
        statistics: (2, S), means and deviations that the tower's features were standardised by.
    """

    vectors: Tensor
    statistics: Tensor

    def rivals(self) -> Tensor:
        """Return for each kind those whose captions are nearest, (K, R), the nearest first."""
        unit = F.normalize(self.vectors - self.vectors.mean(0), dim=1)
        alike = (unit @ unit.T).fill_diagonal_(-1)
        return alike.topk(min(RIVALS, len(alike) - 1)).indices


def read_captions(folder: str, tower: Tower, texts: Sequence[str]) -> Captions:
    """Embed captions by the text half of an open_clip model.

    Args:
        folder: the model as open_clip names it, `local-dir:FOLDER` or `MODEL:PRETRAINED`.
        tower: its image half.
        texts: one for each kind.
    """
    import open_clip  # here, because it takes seconds

    name, _, pretrained = (
        (folder, "", "") if folder.startswith((LOCAL, HUB)) else folder.partition(":")
    )
    model = open_clip.create_model(name, pretrained or None).eval()
    vectors = embed_texts(model, open_clip.get_tokenizer(name), list(texts))
    plain = torch.stack([torch.zeros(tower.feature_size), torch.ones(tower.feature_size)])
    statistics = plain if tower.statistics is None else tower.statistics.cpu()
    return Captions(SHARPER * model.logit_scale.detach().exp() * vectors, statistics)


def shares_of(
    number: int, near: Tensor, kinds: Sequence[Known], generator: torch.Generator
) -> tuple[Tensor, Sure]:
    """Return a look at a kind as a tower tells it: shares of all kinds (K,), and how sure it is.

    The kind itself is the likeliest; the rest goes to its rivals, the nearest most.
    """
    draw = float(torch.rand((), generator=generator))
    low, high = (0.55, 1.0) if draw < CLEAR else (0.3, 0.5) if draw < CLEAR + HAZY else (0.15, 0.3)
    own = low + (high - low) * float(torch.rand((), generator=generator))
    rest = torch.rand(near.shape[1], generator=generator) ** 3
    rest = rest / torch.arange(1, near.shape[1] + 1) ** 0.5
    rest = (1 - own) * rest / rest.sum()
    over = rest.max() / (0.95 * own)
    shares = torch.zeros(len(kinds))
    shares[near[number]] = rest / over.clamp(min=1)
    shares[number] = own
    shares /= shares.sum()
    return shares, sureness(shares, number, kinds)


def sureness(shares: Tensor, number: int, kinds: Sequence[Known]) -> Sure:
    """Say how finely shares of kinds (K,) tell one: by its name, its group, or neither."""
    likely = shares.nonzero()[:, 0].tolist()
    name, group = kinds[number].name, kinds[number].group
    fine = sum(float(shares[at]) for at in likely if kinds[at].name == name)
    coarse = sum(float(shares[at]) for at in likely if kinds[at].group == group)
    return "fine" if fine >= FINE else "coarse" if coarse >= COARSE else "unsure"


FINE, COARSE = 0.45, 0.6  # from which the name, or its group, is said without a doubt


@torch.no_grad()
def remember(memory: KeyValueMemory, captions: Captions, said: Tensor | None) -> None:
    """Set the keys to captions and the values to what is said of each, in place.

    A tower's features end with its embedding, brought to mean 0 and deviation 1 by itself and then
    by the tower's statistics; both are undone here, but for the embedding's mean, which is next to
    nothing of it.

    Args:
        memory: what is set.
        captions: of the tower.
        said: (K + A, Q, D), None to leave the values as they are.
    """
    size = captions.vectors.shape[1]
    mean, spread = captions.statistics[:, -size:]
    key = captions.vectors / size**0.5  # cosine = key · (embedding at deviation 1)
    bias, weight = key @ mean, key * spread
    # The projection's own constants come between the features and the keys.
    bias = bias + weight @ memory.mean[-size:]
    weight = weight * memory.deviation[-size:]
    spare = memory.slots, memory.runner_up_slots, memory.attribute_slots
    memory.sharpness.copy_(sharpness_of(*spare))
    memory.keys.bias.copy_(bias - bias.mean())
    memory.keys.weight.copy_(F.pad(weight - weight.mean(0), (len(memory.mean) - size, 0)))
    if said is None:
        return
    hidden, kinds = memory.values.out_features, memory.keys.out_features
    # Colours have ranks of their own: they differ by so little that kinds would take all.
    own = min(memory.attributes, hidden // 4)
    memory.values.weight.zero_()
    memory.outer.weight.zero_()
    for which, first, rank in (
        (slice(0, kinds), 0, hidden - own),
        (slice(kinds, None), hidden - own, own),
    ):
        if rank:
            left, right = _factors(said[which].flatten(1).double(), rank)
            at = slice(first, first + left.shape[1])
            memory.values.weight[at, which], memory.outer.weight[:, at] = left.T, right


def _factors(rows: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return factors (N, r) and (M, r) of rows (N, M), by their r largest singular vectors."""
    # By the products of the rows, which are far fewer than their numbers.
    _, left = torch.linalg.eigh(rows @ rows.T)
    left = left.flip(1)[:, : min(rank, len(rows))]
    # Of one size, so that both factors can learn at one rate.
    size = VALUE * len(left) ** 0.5
    return (left * size).float(), (rows.T @ left / size).float()
