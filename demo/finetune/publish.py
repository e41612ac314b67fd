"""An adapter that was taught, put among the others under a free and safe name."""

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

from demo.adapter.file import load_adapter, save_adapter
from demo.adapter.owners import owners, set_owner
from demo.adapter.passport import read_passport
from demo.errors import CheckpointError

LONGEST = 40  # characters of a name
RESERVED = frozenset(("auto", "none"))  # what the chat calls its own choices


def publish(adapter: Path, folder: Path, name: str, *, owner: str = "", again: bool = False) -> str:
    """Copies an adapter's file into a folder of adapters → the name it has there.

    The file is opened and checked first; the passport takes the name.

    Args:
        owner: who alone may use it, "" for everybody.
        again: `name` is of one that was published before and is replaced.

    Raises:
        CheckpointError: the file is damaged.
        OSError: the folder cannot be written to.
    """
    loaded, passport = load_adapter(adapter)
    free = name if again else free_name(name, _taken(folder))
    if owner:  # before the file itself, so that it is never anybody's
        set_owner(folder, free, owner)
    save_adapter(loaded, replace(passport, name=free), folder / f"{free}.safetensors")
    return free


def free_name(name: str, taken: set[str]) -> str:
    """A name close to what was asked for that is a file's name everywhere and not in use."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    safe = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST].strip("-") or "adapter"
    free, number = safe, 2
    while free in taken | RESERVED:
        free, number = f"{safe}-{number}", number + 1
    return free


def _taken(folder: Path) -> set[str]:
    """Names of files and of adapters: the two may differ."""
    taken = set(owners(folder))
    for path in folder.glob("*.safetensors"):
        taken.add(path.stem.lower())
        try:
            taken.add(read_passport(path).name.lower())
        except CheckpointError:
            continue
    return taken
