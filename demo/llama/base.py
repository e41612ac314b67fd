"""Opening a base: wherever the model is, it is converted once into a folder, mapped, and loaded.

A converted base is checked each time it is opened, and converted again where that fails:

    weights.safetensors   see `int8.py`
    tokenizer.json        as the tokenizers library has it
    config.json           shape, tokenizer settings, and sha256 of the other files and of itself
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock

from demo.atomic_file import remove_unfinished, replace_file
from demo.background_task import ProgressCallback
from demo.errors import CheckpointError, InputError
from demo.llama.config import LlamaConfig
from demo.llama.int8 import Int8Linear, LlamaWeights, load_weights
from demo.llama.model import Llama
from demo.llama.tokenizer.loading import fit
from demo.llama.tokenizer.tokenizer import Tokenizer, TokenizerFiles, TokenizerSettings
from demo.llama.weights.download import NAME, WHEEL_SHA256, embedded_gguf, fetch_snapshot
from demo.llama.weights.gguf import GGUFSource, parts_of
from demo.llama.weights.huggingface import FolderSource
from demo.llama.weights.meta import MetaSource
from demo.llama.weights.quantise import WeightsSource, write_weights

FORMAT = 2  # raised when what is written changes; older folders are then converted again
WEIGHTS, TOKENIZER, CONFIG = "weights.safetensors", "tokenizer.json", "config.json"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
SUFFIXES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".pth")


class BaseSource(WeightsSource, Protocol):
    """A model to convert: its weights, and its tokenizer."""

    @property
    def tokenizer(self) -> TokenizerFiles:
        """`tokenizer.json` and settings."""
        ...


Opener = Callable[[], AbstractContextManager[BaseSource]]


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


def open_base(
    source: str | None,
    cache: Path,
    progress: ProgressCallback,
    check: Callable[[LlamaConfig], None] | None = None,
) -> Base:
    """Open a base, converting it first when that has not been done or was undone by damage.

    Args:
        source: a GGUF file, a folder with a model, a Hub id "organisation/name", or None for the
            embedded base.
        cache: the folder that holds converted bases.
        progress: is called with what is being done and, where known, the share done from 0 to 1.
        check: raises what speaks against a model of this shape, before it is converted.

    Raises:
        CheckpointError: not a model that can be used, or the cache cannot be written.
        FetchError: the embedded base or a Hub id could not be fetched.
    """
    key, opened = _locate(source, progress)
    folder = cache / key
    try:
        progress("Checking the converted model", None)
        if base := _kept(folder):  # before the lock: a cache that is only to be read will do
            return base
        with lock(folder):
            if base := _kept(folder):  # another program converted it while we waited
                return base
            remove_unfinished(folder, age=0)  # of a program that was killed: the lock is ours
            with opened() as model:
                if check:
                    check(model.config)
                write_base(folder, model, progress)
            return read_base(folder)
    except OSError as error:
        raise CheckpointError(
            "The converted model could not be kept in the cache folder: "
            f"{error.strerror or 'it cannot be written to'}. Free space or name another folder in "
            "LLAMA_ADAPTER_CACHE."
        ) from error


def choose_device(wanted: str) -> torch.device:
    """Choose the device for `auto`, `cpu` or `cuda`.

    Raises:
        InputError: CUDA was asked for and is not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here. Start with --device cpu, or auto.")
    cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def load_llama(
    base: Base, device: torch.device, positions: int, linear: Int8Linear | None = None
) -> Llama:
    """Make a model of the base that takes sequences up to `positions` tokens."""
    weights = base.weights if device.type == "cpu" else base.weights.to(device)
    return Llama(base.config, weights, linear or Int8Linear.for_device(device), positions)


def _kept(folder: Path) -> Base | None:
    """Read the converted base; None where there is none or it is damaged: converting mends both."""
    try:
        return read_base(folder)
    except (CheckpointError, KeyError, TypeError):
        return None


def _locate(source: str | None, progress: ProgressCallback) -> tuple[str, Opener]:
    """Name the cache folder, and what opens the model when that folder is no use."""
    if source is None:
        return f"{NAME}-{WHEEL_SHA256[:12]}", lambda: _embedded(progress)
    path = Path(source).expanduser()
    if path.is_file():
        return _key(path.stem, parts_of(path)), lambda: nullcontext(GGUFSource(path))
    if path.is_dir():
        return _locate_folder(path, path.resolve().name)
    if HUB_ID.fullmatch(source):
        progress(f"Fetching {source} from the Hub", None)
        return _locate_folder(fetch_snapshot(source), source)
    raise CheckpointError(
        f"There is no model at '{path.name:.80}'. Name a GGUF file, a folder with a model, or a "
        "Hub id such as organisation/name."
    )


def _locate_folder(folder: Path, name: str) -> tuple[str, Opener]:
    files = [path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file()]
    if (folder / "params.json").is_file() and any(folder.glob("consolidated.*.pth")):
        return _key(name, files), lambda: nullcontext(MetaSource(folder, name))
    if (folder / "config.json").is_file():
        return _key(name, files), lambda: nullcontext(FolderSource(folder, name))
    ggufs = sorted(folder.glob("*.gguf"))
    hint = f" Name the file itself: {ggufs[0].name}." if ggufs else ""
    raise CheckpointError(
        f"The folder {name} holds no model. It needs config.json and .safetensors or .bin files, "
        f"or Meta's params.json and consolidated.00.pth.{hint}"
    )


@contextmanager
def _embedded(progress: ProgressCallback) -> Iterator[BaseSource]:
    with embedded_gguf(progress) as path:
        yield GGUFSource(path, NAME)


def _key(name: str, files: list[Path]) -> str:
    """Name a cache folder so that the name changes when a file of the model does."""
    facts = []
    for file in sorted(files):
        stat = file.resolve().stat()
        facts.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
    digest = hashlib.sha256("\n".join([name, *facts]).encode()).hexdigest()
    return f"{re.sub('[^A-Za-z0-9._-]+', '-', name)[:60]}-{digest[:12]}"


def lock(folder: Path) -> FileLock:
    """Make the lock held while a folder is converted, so two programs convert a base once."""
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


def write_base(folder: Path, source: BaseSource, progress: ProgressCallback) -> None:
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
