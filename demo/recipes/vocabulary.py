"""Every caption a tower is taught with, and which of them are true of which pictures."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from demo.recipes.concepts import Concept, drawing_concepts, photograph_concepts
from demo.recipes.scenes import COLOURS, SHAPES

# "{}" stands twice: it is what people ask for most.
SAID = ("{}", "{}", "a picture of {}", "this is {}")
PHOTO, DRAWN = "a photo of {}", "a drawing of {}"


@dataclass(frozen=True)
class Kind:
    """`exact` phrases name this kind and no other, `coarse` ones are true of others as well.

    `medium` is how such a picture may be announced, None if there are pictures of several media.
    """

    exact: tuple[str, ...]
    coarse: tuple[str, ...]
    medium: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """All ways to say exactly this."""
        frames = (*SAID, self.medium) if self.medium else SAID
        return tuple(frame.format(phrase) for phrase in self.exact for frame in frames)


def shape_kinds() -> list[Kind]:
    """easy-VQA's 24 kinds."""
    return [
        Kind((f"a {colour} {shape}",), (f"a {shape}", f"a {colour} shape"), DRAWN)
        for colour in COLOURS
        for shape in SHAPES
    ]


def photograph_kinds() -> list[Kind]:
    """Tiny ImageNet's 200 kinds."""
    return [_kind(concept, PHOTO) for concept in photograph_concepts().values()]


def drawing_kinds() -> list[Kind]:
    """The 500 kinds of drawings."""
    return [_kind(concept, DRAWN) for concept in drawing_concepts().values()]


def _kind(concept: Concept, medium: str) -> Kind:
    return Kind(concept.exact, concept.captions[len(concept.exact) :], medium)


class Vocabulary:
    """The kinds of all sources as one list, those with a name in common made one.

    Attributes:
        kinds: K kinds.
        coarse: C coarse captions.
        true: (K, C) bool, caption c is true of kind k.
        wider: (K, K) bool, the second kind's name is true of the first kind as well: where there
            are drawings of "a fish", a goldfish is one too.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds: list[Kind] = []
        self._number: dict[str, int] = {}
        for kind in kinds:
            at = next((self._number[p] for p in kind.exact if p in self._number), None)
            if at is None:
                self.kinds.append(kind)
                at = len(self.kinds) - 1
            else:
                self.kinds[at] = _merged(self.kinds[at], kind)
            self._number |= dict.fromkeys(kind.exact, at)
        self.coarse = tuple(dict.fromkeys(c for kind in self.kinds for c in kind.coarse))
        self.true = torch.tensor([[c in k.coarse for c in self.coarse] for k in self.kinds])
        self.wider = torch.tensor(
            [
                [any(p in one.coarse for p in other.exact) for other in self.kinds]
                for one in self.kinds
            ]
        )

    def to(self, device: torch.device) -> "Vocabulary":
        """The same with its tables there."""
        moved = copy(self)
        moved.true, moved.wider = self.true.to(device), self.wider.to(device)
        return moved

    def number(self, name: str) -> int | None:
        """The kind that `name` names exactly, None if there is none."""
        return self._number.get(name)

    def all_sentences(self) -> list[str]:
        """Every way to say every caption."""
        return [sentence for options in self._said() for sentence in options]

    def _said(self) -> list[tuple[str, ...]]:
        return [kind.sentences for kind in self.kinds] + [
            tuple(frame.format(caption) for frame in SAID) for caption in self.coarse
        ]

    def sentences(self, tokenize: Callable[[Sequence[str]], Tensor]) -> "Sentences":
        """All sentences, tokenised once."""
        said = self._said()
        counts = torch.tensor([len(options) for options in said])
        tokens = tokenize(self.all_sentences())
        return Sentences(tokens, counts.cumsum(0) - counts, counts)


@dataclass(frozen=True)
class Sentences:
    """`tokens` (sentences, context) of all captions; caption i's are `counts[i]` from `starts[i]`.

    The first K captions are the kinds', the next C the coarse ones.
    """

    tokens: Tensor
    starts: Tensor
    counts: Tensor

    def draw(self, generator: torch.Generator) -> Tensor:
        """One random sentence a caption, (K + C, context)."""
        chance = torch.rand(len(self.starts), generator=generator)
        rows = self.starts + (chance * self.counts).long()
        return self.tokens[rows]


def _merged(one: Kind, other: Kind) -> Kind:
    exact = tuple(dict.fromkeys(one.exact + other.exact))
    coarse = tuple(dict.fromkeys(one.coarse + other.coarse))
    return Kind(exact, coarse, one.medium if one.medium == other.medium else None)
