"""One door to a base: wherever the model is, converted once, then mapped."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from demo.errors import CheckpointError
from demo.llama.cache import Base, BaseSource, lock, read_base, write_base
from demo.llama.convert import Progress
from demo.llama.embedded import NAME, WHEEL_SHA256, embedded_gguf
from demo.llama.folder_source import FolderSource
from demo.llama.gguf_source import GGUFSource
from demo.llama.hub import fetch_snapshot
from demo.llama.meta_source import MetaSource


def open_base(source: str | None, cache: Path, progress: Progress) -> Base:
    """Open a base, converting it first when that has not been done or was undone by damage.

    Args:
        source: a GGUF file, a folder with a model, a Hub id "organisation/name", or None for the
            embedded base.
        cache: the folder that holds converted bases.
        progress: told what is being done and, where known, the share done from 0 to 1.

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
            with opened() as model:
                write_base(folder, model, progress)
            return read_base(folder)
    except OSError as error:
        raise CheckpointError(
            "The converted model could not be kept in the cache folder: "
            f"{error.strerror or 'it cannot be written to'}. Free space or name another folder in "
            "LLAMA_ADAPTER_CACHE."
        ) from error


def _kept(folder: Path) -> Base | None:
    """The converted base, or None where there is none or it is damaged: converting mends both."""
    try:
        return read_base(folder)
    except (CheckpointError, KeyError, TypeError):
        return None


HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".pth")

Opener = Callable[[], AbstractContextManager[BaseSource]]


def _locate(source: str | None, progress: Progress) -> tuple[str, Opener]:
    """The name of the cache folder, and what opens the model when that folder is no use."""
    if source is None:
        return f"{NAME}-{WHEEL_SHA256[:12]}", lambda: _embedded(progress)
    path = Path(source).expanduser()
    if path.is_file():
        return _key(path.stem, [path]), lambda: nullcontext(GGUFSource(path))
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
        f"The folder {name} holds no model. It needs config.json and .safetensors files, or Meta's "
        f"params.json and consolidated.00.pth.{hint}"
    )


@contextmanager
def _embedded(progress: Progress) -> Iterator[BaseSource]:
    with embedded_gguf(progress) as path:
        yield GGUFSource(path, NAME)


def _key(name: str, files: list[Path]) -> str:
    """A cache folder's name that changes when a file of the model does."""
    facts = []
    for file in sorted(files):
        stat = file.resolve().stat()
        facts.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
    digest = hashlib.sha256("\n".join([name, *facts]).encode()).hexdigest()
    return f"{re.sub('[^A-Za-z0-9._-]+', '-', name)[:60]}-{digest[:12]}"
