"""The folder of one converted base: written once, checked each time it is opened.

weights.safetensors   see `weights.py`
tokenizer.json        as the tokenizers library has it
config.json           shape, tokenizer settings, and sha256 of the other files and of itself
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from demo.errors import CheckpointError
from demo.files import replace_file
from demo.llama.config import LlamaConfig
from demo.llama.convert import Progress, Source, write_weights
from demo.llama.tokenizer import Tokenizer
from demo.llama.tokenizer_source import TokenizerFiles, TokenizerSettings, fit
from demo.llama.weights import LlamaWeights, load_weights

FORMAT = 1  # raised when what is written changes; older folders are then converted again
WEIGHTS, TOKENIZER, CONFIG = "weights.safetensors", "tokenizer.json", "config.json"


class BaseSource(Source, Protocol):
    """A model to convert: its weights, and its tokenizer."""

    @property
    def tokenizer(self) -> TokenizerFiles:
        """`tokenizer.json` and settings."""
        ...


@dataclasses.dataclass(frozen=True)
class Base:
    """A LLaMA ready to run. Everything in it is read-only.

    `fingerprint` is the sha256 of the weights file; an adapter names it to say what it was taught
    on.
    """

    name: str
    config: LlamaConfig
    weights: LlamaWeights
    tokenizer: Tokenizer
    fingerprint: str


def lock(folder: Path) -> FileLock:
    """Held while a folder is read or converted, so two programs convert a base once."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock")


def read_base(folder: Path) -> Base:
    """Open a converted base; the weights are mapped, not read.

    Raises:
        CheckpointError: it is not there, of another format, or not as it was written.
    """
    fields = _read_config(folder / CONFIG)
    for file, name in ((WEIGHTS, "weights_sha256"), (TOKENIZER, "tokenizer_sha256")):
        if _sha256(folder / file) != fields[name]:
            raise CheckpointError(f"The converted base's {file} is damaged.")
    config = LlamaConfig.from_json(fields["config"])
    settings = TokenizerSettings(**fields["tokenizer"])
    files = TokenizerFiles((folder / TOKENIZER).read_text("utf-8"), settings)
    return Base(
        name=fields["name"],
        config=config,
        weights=load_weights(folder / WEIGHTS, config),
        tokenizer=Tokenizer(files),
        fingerprint=fields["weights_sha256"],
    )


def write_base(folder: Path, source: BaseSource, progress: Progress) -> None:
    """Convert a model into a folder. `config.json` comes last and makes the folder valid.

    Raises:
        CheckpointError: the model cannot be used; the message says why.
        OSError: the folder cannot be written to.
    """
    progress(f"Reading the tokenizer of {source.name}", None)
    files = fit(source.tokenizer, source.config.vocab, source.name)
    Tokenizer(files)  # refuse what could not be opened later, before the long part
    digest = write_weights(folder / WEIGHTS, source, progress)
    with replace_file(folder / TOKENIZER) as unfinished:
        unfinished.write_text(files.definition, "utf-8")
    fields = {
        "format": FORMAT,
        "name": source.name,
        "config": source.config.to_json(),
        "tokenizer": dataclasses.asdict(files.settings),
        "weights_sha256": digest,
        "tokenizer_sha256": _sha256(folder / TOKENIZER),
    }
    fields["checksum"] = _checksum(fields)
    with replace_file(folder / CONFIG) as unfinished:
        unfinished.write_text(json.dumps(fields, indent=1), "utf-8")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text("utf-8"))
        good = fields["format"] == FORMAT and fields.pop("checksum") == _checksum(fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise CheckpointError("There is no converted base here that this version can read.")
    return fields


def _checksum(fields: dict[str, Any]) -> str:
    """Of the fields as they come back from JSON, without the sum itself."""
    text = json.dumps(json.loads(json.dumps(fields)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "missing"
