"""A model's own tokenizer, from whatever files it came in → one `tokenizer.json` and settings.

This runs once, when a base is converted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from demo.errors import CheckpointError

# llama.cpp's names for vocabularies that were learned with digits kept apart, which transformers'
# reader of GGUF does not know (llama.cpp, `llama-vocab.cpp`, the pattern `\\p{N}`).
SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")


@dataclass(frozen=True)
class TokenizerSettings:
    """What `tokenizer.json` does not hold.

    Raises:
        CheckpointError: ids that are not whole numbers from 0.
    """

    chat_template: str | None = None  # Jinja, as Hugging Face has it
    bos: int | None = None
    eos: tuple[int, ...] = ()  # ids that end a reply
    add_bos: bool = False  # a text of this model begins with `bos`

    def __post_init__(self) -> None:
        object.__setattr__(self, "eos", tuple(self.eos))
        ids = [*self.eos, *([] if self.bos is None else [self.bos])]
        if not all(type(token) is int and token >= 0 for token in ids):
            raise CheckpointError(
                f"The tokenizer's begin and end tokens are {ids!r:.80}, not ids. "
                "Fetch the model again."
            )


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer ready to be kept: the text of `tokenizer.json`, and the rest."""

    definition: str
    settings: TokenizerSettings


def from_gguf(path: Path, metadata: Mapping[str, Any]) -> TokenizerFiles:
    """Through transformers, which knows how a GGUF spells its vocabulary."""
    # Imported here: it costs seconds, and only a conversion needs it.
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # The library fails in many ways on vocabularies it does not know.
    except Exception as error:
        raise _unreadable(path.stem) from error
    backend = loaded.backend_tokenizer
    if metadata.get("tokenizer.ggml.pre") in SINGLE_DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    ends = (metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot"))
    # llama.cpp begins a text with BOS when a sentencepiece vocabulary does not say otherwise.
    sentencepiece = metadata.get("tokenizer.ggml.model") == "llama"
    return TokenizerFiles(
        backend.to_str(),
        TokenizerSettings(
            chat_template=metadata.get("tokenizer.chat_template"),
            bos=metadata.get("tokenizer.ggml.bos_token_id"),
            eos=tuple(token for token in ends if token is not None),
            add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", sentencepiece)),
        ),
    )


def _unreadable(name: str) -> CheckpointError:
    return CheckpointError(
        f"The tokenizer of {name} cannot be read. A folder needs a tokenizer.json or a "
        "tokenizer.model; fetch the model again, with them."
    )
