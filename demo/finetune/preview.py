"""An example exactly as the model sees it: its text, control tokens too, and what is learned."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from demo.finetune.examples import IGNORED, Example
from demo.llama.tokenizer import Tokenizer


@dataclass(frozen=True)
class Span:
    """A piece of an example; `learned` is False where it is only read (masked)."""

    text: str
    learned: bool


def preview(tokenizer: Tokenizer, examples: Iterable[Example]) -> list[list[Span]]:
    """Each example's spans, learned and masked ones taking turns.

    The texts joined are what the token ids spell, the one that ends the last reply included.
    """
    return [_spans(tokenizer, example) for example in examples]


def _spans(tokenizer: Tokenizer, example: Example) -> list[Span]:
    # labels[t] is the token after ids[t], so a token is learned when the label before it is set.
    learned = [False, *(label != IGNORED for label in example.labels)]
    pairs = zip([*example.ids, example.labels[-1]], learned, strict=True)
    pairs = [pair for pair in pairs if pair[0] != IGNORED]
    return [
        Span(_spelling(tokenizer, [token for token, _ in part]), flag)
        for flag, part in groupby(pairs, key=lambda pair: pair[1])
    ]


def _spelling(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Unlike `decode`, control tokens are written: here they are what is looked at."""

    def written(token: int) -> bytes:
        control = token in tokenizer.controls
        return tokenizer.token(token).encode() if control else tokenizer.token_bytes(token)

    return b"".join(map(written, ids)).decode("utf-8", "replace")
