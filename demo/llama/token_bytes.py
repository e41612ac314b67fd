"""What each token writes, as bytes: characters may span tokens, bytes never do."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from demo.errors import CheckpointError

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # how sentencepiece names the byte it has no piece for


class TokenBytes:
    """The bytes of tokens, for the two ways LLaMA tokenizers spell them.

    Byte-level BPE writes each byte as one printable character; sentencepiece writes text with its
    spaces as `▁` and leaves single bytes as `<0xE2>`.

    Args:
        definition: the parsed `tokenizer.json`.

    Attributes:
        strips: a text of this tokenizer loses the one space that was put before it.

    Raises:
        CheckpointError: the tokenizer is of another kind.
    """

    def __init__(self, definition: Mapping[str, Any]) -> None:
        steps = list(_steps(definition.get("decoder")))
        kinds = {step["type"] for step in steps}
        if "ByteLevel" in kinds:
            self._alphabet: dict[str, int] | None = byte_alphabet()
        elif kinds & {"Metaspace", "ByteFallback"}:
            self._alphabet = None
        else:
            raise CheckpointError(
                "The model's tokenizer is neither byte-level nor sentencepiece, as a LLaMA's is. "
                "Fetch the model again, or choose another."
            )
        self.strips = any(
            (step["type"] == "Strip" and step.get("start"))
            or (step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never")
            for step in steps
        )

    def of(self, token: str) -> bytes:
        """The bytes that a token of the model's vocabulary, by its spelling, writes."""
        if self._alphabet is not None:
            # A character outside the alphabet is a token added as it reads.
            return b"".join(
                bytes((self._alphabet[c],)) if c in self._alphabet else c.encode() for c in token
            )
        single = BYTE.fullmatch(token)
        return bytes.fromhex(single[1]) if single else token.replace("▁", " ").encode()


def byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level BPE.

    Source: GPT-2's `bytes_to_unicode`.
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    alphabet = {chr(byte): byte for byte in shown}
    return alphabet | {chr(256 + index): byte for index, byte in enumerate(hidden)}


def _steps(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if decoder is None:
        return
    yield decoder
    for step in decoder.get("decoders", ()):
        yield from _steps(step)
