"""Whose an adapter is: a small file beside it, `NAME.owner`.

One that has none is everybody's. Because it lies in the same folder, every program that offers the
folder's adapters knows it, whatever becomes of the training that made them.
"""

import logging
from pathlib import Path

from demo.files import replace_file

log = logging.getLogger(__name__)


def owner_file(folder: Path, name: str) -> Path:
    """Where the owner of an adapter is kept."""
    return folder / f"{name}.owner"


def set_owner(folder: Path, name: str, owner: str) -> None:
    """From now on the adapter of that name is only its owner's. Raises OSError."""
    with replace_file(owner_file(folder, name)) as unfinished:
        unfinished.write_text(owner, "utf-8")


def owners(folder: Path) -> dict[str, str]:
    """Who owns which, by the adapters' names. What cannot be read is nobody's, not everybody's."""
    found = {}
    for path in folder.glob("*.owner"):
        try:
            found[path.stem] = path.read_text("utf-8")
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            log.warning("not known whose an adapter is: %s", path.name)
            found[path.stem] = ""
    return found
