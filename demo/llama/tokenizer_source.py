"""A model's own tokenizer, from whatever files it came in → one `tokenizer.json` and settings.

This runs once, when a base is converted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as Backend

from demo.errors import CheckpointError
from demo.llama import byte_level

if TYPE_CHECKING:
    from gguf import GGUFReader


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


def from_gguf(path: Path, metadata: Mapping[str, Any], reader: "GGUFReader") -> TokenizerFiles:
    """The tokenizer that a GGUF file describes.

    Args:
        path: the file.
        metadata: its keys without the lists of the vocabulary.
        reader: the open file.
    """
    # llama.cpp begins a text with BOS when a sentencepiece vocabulary does not say otherwise.
    sentencepiece = metadata.get("tokenizer.ggml.model") == "llama"
    try:
        backend = (
            _gguf_pieces(metadata, reader) if sentencepiece else _gguf_bytes(path, metadata, reader)
        )
    # transformers fails in many ways on vocabularies it does not know.
    except Exception as error:
        raise _unreadable(path.stem) from error
    ends = (metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot"))
    return TokenizerFiles(
        backend.to_str(),
        TokenizerSettings(
            chat_template=metadata.get("tokenizer.chat_template"),
            bos=metadata.get("tokenizer.ggml.bos_token_id"),
            eos=tuple(token for token in ends if token is not None),
            add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", sentencepiece)),
        ),
    )


def _gguf_pieces(metadata: Mapping[str, Any], reader: "GGUFReader") -> Backend:
    """A sentencepiece vocabulary, which a GGUF keeps whole."""
    # Imported here: a start on a converted base never needs it.
    from demo.llama.sentencepiece_model import build

    names, scores, kinds = (
        reader.fields[f"tokenizer.ggml.{key}"].contents()
        for key in ("tokens", "scores", "token_type")
    )
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", True)
    return build(names, scores, kinds, prefix=bool(prefix))


def _gguf_bytes(path: Path, metadata: Mapping[str, Any], reader: "GGUFReader") -> Backend:
    """A byte-level vocabulary."""
    split = metadata.get("tokenizer.ggml.pre", "default")
    if split in byte_level.KNOWN:
        names, merges, kinds = (
            reader.fields[f"tokenizer.ggml.{key}"].contents()
            for key in ("tokens", "merges", "token_type")
        )
        return byte_level.build(names, merges, kinds, split=split)
    # Imported here: it costs seconds, and only the rarer vocabularies of a conversion need it.
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer


def from_folder(folder: Path, name: str) -> TokenizerFiles:
    """From a folder as the Hub has it: tokenizer.json, or tokenizer.model through transformers."""
    known = {}
    for file in ("config", "generation_config", "special_tokens_map", "tokenizer_config"):
        if (folder / f"{file}.json").is_file():
            fields = read_fields(folder / f"{file}.json")
            known |= {key: value for key, value in fields.items() if value is not None}
    if (folder / "tokenizer.json").is_file():
        definition = (folder / "tokenizer.json").read_text("utf-8")
    elif (folder / "tokenizer.model").is_file():
        files = from_sentencepiece(folder / "tokenizer.model", name)
        own = files.settings
        ids = {"bos_token_id": own.bos, "eos_token_id": list(own.eos), "add_bos_token": True}
        definition, known = files.definition, ids | known
    else:
        raise _unreadable(name)
    try:
        backend = Backend.from_str(definition)
    except Exception as error:  # the library raises nothing narrower
        raise _unreadable(name) from error
    bos = _id(backend, known.get("bos_token"), known.get("bos_token_id"))
    eos = known.get("eos_token_id")
    eos = {*(eos if isinstance(eos, list) else [eos]), _id(backend, known.get("eos_token"), None)}
    begun = backend.encode("a").ids[:1] == [bos]
    return TokenizerFiles(
        definition,
        TokenizerSettings(
            chat_template=_chat_template(folder, known.get("chat_template")),
            bos=bos,
            eos=tuple(sorted(eos - {None})),
            add_bos=bool(known.get("add_bos_token", begun)),
        ),
    )


def from_sentencepiece(path: Path, name: str) -> TokenizerFiles:
    """From Meta's `tokenizer.model` alone, which has no chat template."""
    # Imported here: a start on a converted base never needs it.
    from demo.llama.sentencepiece_model import read_sentencepiece

    try:
        backend, bos, eos = read_sentencepiece(path)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"The tokenizer.model of {name} is not a sentencepiece model: it is damaged, or Llama "
            "3's, which is of another kind. Use the Hub's folder of the same model, which has a "
            "tokenizer.json."
        ) from error
    settings = TokenizerSettings(bos=bos, eos=(eos,), add_bos=True)
    return TokenizerFiles(backend.to_str(), settings)


def fit(files: TokenizerFiles, rows: int, name: str) -> TokenizerFiles:
    """The same tokenizer without the added tokens that the embedding has no row for.

    Fine-tuned models often add a padding token to the tokenizer alone.

    Raises:
        CheckpointError: tokens of the vocabulary itself have no row.
    """
    try:
        definition = json.loads(files.definition)
        vocab = definition["model"]["vocab"]
        last = max(vocab.values()) if isinstance(vocab, dict) else len(vocab) - 1
        added = [token for token in definition["added_tokens"] if token["id"] < rows]
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(name) from error
    if last >= rows:
        raise CheckpointError(
            f"The tokenizer of {name} has {last + 1:,} tokens and its embedding {rows:,} rows. "
            "They are of different models: fetch both again."
        )
    if len(added) == len(definition["added_tokens"]):
        return files
    return replace(files, definition=json.dumps({**definition, "added_tokens": added}))


def read_fields(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        CheckpointError: it is missing or holds something else.
    """
    try:
        fields = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} is missing or damaged in {path.resolve().parent.name}. "
            "Fetch the model again."
        ) from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path.name} holds no settings. Fetch the model again.")
    return fields


def _id(backend: Backend, token: Any, otherwise: Any) -> int | None:
    """A token's id by its spelling, which older files wrap in an object."""
    text = token.get("content") if isinstance(token, dict) else token
    found = backend.token_to_id(text) if isinstance(text, str) else None
    if found is None and isinstance(otherwise, list):
        return otherwise[0]
    return otherwise if found is None else found


def _chat_template(folder: Path, field: Any) -> str | None:
    """The template for talking, from its own file or from the tokenizer's settings."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text("utf-8")
    if isinstance(field, list):  # several, named
        field = {entry.get("name"): entry.get("template") for entry in field}.get("default")
    return field if isinstance(field, str) else None


def _unreadable(name: str) -> CheckpointError:
    return CheckpointError(
        f"The tokenizer of {name} cannot be read. A GGUF file holds its own, a folder needs a "
        "tokenizer.json or a tokenizer.model: fetch the model again."
    )
