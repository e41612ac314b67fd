"""What visitors do to a library: put adapters in, rename and describe their own, take them out.

Somebody's own adapter is one whose owner they are (`library.py`); what is everybody's stays as it
is. A change is a new file, written whole, before the old one goes.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from demo.adapter.intake import SETTINGS, check_file
from demo.adapter.library import (
    Compatibility,
    Library,
    LibraryEntry,
    check_compatible,
    free_name,
    owner_file,
    publish,
    set_owner,
    taken_names,
)
from demo.adapter.passport import read_header
from demo.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from demo.llama.base import Base
    from demo.vision.clip import Tower

MAX_OWN = 100  # adapters of one visitor
MAX_DESCRIPTION = 500  # characters


class Shelf:
    """The adapters of a library as visitors may change them.

    Args:
        library: what is changed.
    """

    def __init__(self, library: Library) -> None:
        self._library = library

    def add(
        self,
        file: Path,
        owner: str,
        fit: Compatibility,
        base: Base,
        tower: Tower | None,
    ) -> str:
        """Put an uploaded file among the adapters, for its owner alone → the name it has there.

        Args:
            file: of this program, of the authors of LLaMA-Adapter, of PEFT or of litgpt.
            owner: who sent it.
            fit: what a file of ours has to be compatible with.
            base: which a released file is read for.
            tower: likewise, None without one.

        Raises:
            CheckpointError: it is no adapter, damaged, or for another base or tower.
            InputError: they have as many as one may have.
            BusyError: others are being checked.
        """
        if len(self._own(owner)) >= MAX_OWN:
            raise InputError(
                f"You have {MAX_OWN} adapters of your own, as many as one may have here. Please "
                "delete one first."
            )
        with tempfile.TemporaryDirectory(prefix="adapter-") as folder:
            plain = Path(folder) / "tensors.safetensors"
            taken = check_file(file, plain)
            # Imported here: a page is served before torch is there.
            from demo.adapter.adapter import load_adapter, save_adapter

            if taken.released:
                from safetensors.torch import load_file

                from demo.adapter.released import convert

                given = (file.name, taken.digest)
                settings = json.loads(read_header(plain).metadata[SETTINGS])
                adapter, passport = convert(
                    load_file(plain), given, base, file.stem, tower=tower, settings=settings
                )
            else:
                adapter, passport = load_adapter(file)
                check_compatible(passport, fit)
            ready = Path(folder) / "ready.safetensors"
            save_adapter(adapter, passport, ready)
            return publish(ready, self._library.folder, passport.name, owner=owner)

    def change(self, name: str, owner: str, new_name: str, description: str) -> str:
        """Rename and describe one's own adapter → the name it has now.

        Args:
            name: it has.
            owner: who asks.
            new_name: it is to have; a name close to it if that is taken.
            description: what it is for, in a line or two.

        Raises:
            InputError: it is not theirs, or the description is too long.
            CheckpointError: its file is damaged.
        """
        entry = self._own_entry(name, owner)
        if len(description) > MAX_DESCRIPTION:
            raise InputError(f"Please describe it in at most {MAX_DESCRIPTION} characters.")
        from demo.adapter.adapter import load_adapter, save_adapter

        adapter, passport = load_adapter(entry.path)
        kept = " ".join(description.split())
        taken = taken_names(self._library.folder) - {name, entry.path.stem}
        free = free_name(new_name or name, taken)
        target = self._library.folder / f"{free}.safetensors"
        set_owner(self._library.folder, free, owner)
        save_adapter(adapter, replace(passport, name=free, description=kept), target)
        if target != entry.path:
            self._drop(entry)
        return free

    def delete(self, name: str, owner: str) -> None:
        """Delete one's own adapter for good.

        Raises:
            InputError: it is not theirs.
        """
        self._drop(self._own_entry(name, owner))

    def _drop(self, entry: LibraryEntry) -> None:
        entry.path.unlink(missing_ok=True)
        # After the file: without its owner it would be everybody's.
        owner_file(self._library.folder, entry.passport.name).unlink(missing_ok=True)

    def _own(self, owner: str) -> list[LibraryEntry]:
        return [entry for entry in self._library.offered(owner) if entry.owner == owner]

    def _own_entry(self, name: str, owner: str) -> LibraryEntry:
        entry = self._library.find(name, owner)
        if not owner or entry.owner != owner:
            raise InputError(f"The adapter '{name}' is everybody's. Only your own can be changed.")
        return entry


def fits(entry: LibraryEntry, fit: Compatibility) -> bool:
    """Tell whether an adapter can be used with what is loaded."""
    try:
        check_compatible(entry.passport, fit)
    except CheckpointError:
        return False
    return True
