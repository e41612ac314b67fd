"""A model's own tokenizer, from whatever files it came in → one `tokenizer.json` and settings.

This runs once, when a base is converted. A folder's `tokenizer.json` is kept as it is; a
`tokenizer.model` and a GGUF's lists are built anew, and the rarer vocabularies of a GGUF go through
transformers.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as Backend

from demo.errors import CheckpointError
from demo.llama.tokenizer.builders import (
    KNOWN_SPLITS,
    PieceRules,
    build_byte_level,
    build_sentencepiece,
)
from demo.llama.tokenizer.model_file import read_model_file, with_added_tokens
from demo.llama.tokenizer.tokenizer import TokenizerFiles, TokenizerSettings

if TYPE_CHECKING:
    from gguf import GGUFReader


def from_gguf(path: Path, metadata: Mapping[str, Any], reader: "GGUFReader") -> TokenizerFiles:
    """Build the tokenizer that a GGUF file describes.

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
    """Build from a sentencepiece vocabulary, which a GGUF keeps whole."""
    names, scores, kinds = (
        reader.fields[f"tokenizer.ggml.{key}"].contents()
        for key in ("tokens", "scores", "token_type")
    )
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", True)
    return build_sentencepiece(names, scores, kinds, PieceRules(prefix=bool(prefix)))


def _gguf_bytes(path: Path, metadata: Mapping[str, Any], reader: "GGUFReader") -> Backend:
    """Build from a byte-level vocabulary."""
    split = metadata.get("tokenizer.ggml.pre", "default")
    if split in KNOWN_SPLITS:
        names, merges, kinds = (
            reader.fields[f"tokenizer.ggml.{key}"].contents()
            for key in ("tokens", "merges", "token_type")
        )
        return build_byte_level(names, merges, kinds, split=split)
    # Imported here: it costs seconds, and only the rarer vocabularies of a conversion need it.
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer


def from_folder(folder: Path, name: str) -> TokenizerFiles:
    """Read a folder as the Hub has it: tokenizer.json, or else tokenizer.model."""
    known: dict[str, Any] = {}
    for file in ("config", "generation_config", "special_tokens_map", "tokenizer_config"):
        if (folder / f"{file}.json").is_file():
            fields = read_fields(folder / f"{file}.json")
            known |= {key: value for key, value in fields.items() if value is not None}
    joined: tuple[str, ...] = ()
    if (folder / "tokenizer.json").is_file():
        definition = (folder / "tokenizer.json").read_text("utf-8")
    elif (folder / "tokenizer.model").is_file():
        files = read_model_file(folder / "tokenizer.model", name)
        own, joined = files.settings, files.settings.joined
        ids: dict[str, Any] = {
            "bos_token_id": own.bos,
            "eos_token_id": list(own.eos),
            "add_bos_token": True,
        }
        ids["chat_template"] = own.chat_template
        definition, known = with_added_tokens(files.definition, _added(folder, known)), ids | known
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
            joined=joined,
        ),
    )


def _added(folder: Path, known: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """List the tokens that were added to a `tokenizer.model`, by their ids."""
    found: dict[int, dict[str, Any]] = {}
    if (folder / "added_tokens.json").is_file():
        for text, token in read_fields(folder / "added_tokens.json").items():
            found[token] = {"content": text}
    for token, fields in (known.get("added_tokens_decoder") or {}).items():
        found[int(token)] = fields
    return found


def fit(files: TokenizerFiles, rows: int, name: str) -> TokenizerFiles:
    """Drop the added tokens that the embedding has no row for.

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
    """Read a JSON file that holds an object.

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
    """Find a token's id by its spelling, which older files wrap in an object."""
    text = token.get("content") if isinstance(token, dict) else token
    found = backend.token_to_id(text) if isinstance(text, str) else None
    if found is None and isinstance(otherwise, list):
        return otherwise[0]
    return otherwise if found is None else found


def _chat_template(folder: Path, field: Any) -> str | None:
    """Find the template for talking, in its own file or in the tokenizer's settings."""
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
