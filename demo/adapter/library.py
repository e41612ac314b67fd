"""A folder of adapters: what is there, and which of them may be used with this base and tower."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from demo.adapter.owners import owners
from demo.adapter.passport import Passport, read_passport
from demo.errors import CheckpointError, InputError
from demo.llama.config import LlamaConfig

if TYPE_CHECKING:
    from demo.adapter.adapter import Adapter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One adapter file that can be read."""

    path: Path
    passport: Passport
    stamp: tuple[int, int]  # modification time in ns and size: a replaced file is read again


@dataclass(frozen=True)
class Fit:
    """What an adapter has to match.

    `sizes` are how many numbers the tower gives of a picture, by the kind of projection they are
    for; a kind that is not among them is not checked.
    """

    base: str
    base_fingerprint: str
    config: LlamaConfig
    tower: str | None  # None when no picture is in use
    tower_fingerprint: str | None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def sees(self, passport: Passport) -> bool:
        """Whether the tower gives as many numbers as an adapter's projection takes."""
        visual = passport.spec.visual
        return visual is None or self.sizes.get(visual.kind, visual.feature_size) == (
            visual.feature_size
        )


class Library:
    """The adapters of one folder, by name. Safe to use from several threads.

    A file that cannot be read is left out and logged; the others stay usable. An adapter that has
    an owner is known to nobody else, whatever they ask.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._loaded: dict[str, tuple[Entry, Adapter]] = {}

    def entries(self) -> tuple[Entry, ...]:
        """What the folder holds now, by name. Only headers of new or changed files are read."""
        with self._lock:
            known = {entry.path: entry for entry in self._entries.values()}
            found: dict[str, Entry] = {}
            for path in sorted(self.folder.glob("*.safetensors")):
                entry = self._entry(path, known.get(path))
                if entry:
                    found.setdefault(entry.passport.name, entry)
            self._entries = found
            return tuple(found.values())

    def offered(self, owner: str = "") -> tuple[Entry, ...]:
        """Of `entries`, those that are everybody's or this owner's."""
        whose = owners(self.folder)
        allowed = {None, owner or None}
        return tuple(e for e in self.entries() if whose.get(e.passport.name) in allowed)

    def owned(self, name: str) -> bool:
        """Whether a visitor taught the adapter of that name: it is not everybody's."""
        return name in owners(self.folder)

    def get(self, name: str, fit: Fit, owner: str = "") -> tuple[Adapter, Entry]:
        """The adapter of that name, loaded and checked against base and tower.

        Raises:
            InputError: no such adapter for this owner; the message lists what there is.
            CheckpointError: the file is damaged, or made for another base or tower.
        """
        offered = {entry.passport.name: entry for entry in self.offered(owner)}
        entry = offered.get(name)
        if entry is None:
            names = ", ".join(sorted(offered)) or "none in this folder"
            raise InputError(f"There is no adapter '{name[:60]}'. Choose auto, none, or: {names}.")
        check_fit(entry.passport, fit)
        # Imported here: a folder is listed before torch is there, and torch takes seconds.
        from demo.adapter.file import load_adapter

        with self._lock:
            loaded = self._loaded.get(name)
            if loaded is None or loaded[0].stamp != entry.stamp:
                loaded = (entry, load_adapter(entry.path)[0])
                self._loaded[name] = loaded
            return loaded[1], entry

    def for_images(self, fit: Fit) -> tuple[str, ...]:
        """The names of all adapters, everybody's, that see through this tower, on this base.

        Raises:
            InputError: there is none; the message says so with the tower's name.
        """

        def fits(passport: Passport) -> bool:
            same_base = passport.base_fingerprint == fit.base_fingerprint
            same_tower = passport.tower_fingerprint == fit.tower_fingerprint
            return same_base and same_tower and fit.sees(passport)

        names = tuple(e.passport.name for e in self.offered() if fits(e.passport))
        if names:
            return names
        raise InputError(
            f"No adapter here sees through {fit.tower} on {fit.base}. Remove the picture, or start "
            "with the base and the vision tower that an image adapter was made for."
        )

    def _entry(self, path: Path, known: Entry | None) -> Entry | None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if known and known.stamp == stamp:
                return known
            return Entry(path, read_passport(path), stamp)
        except (OSError, CheckpointError) as error:
            log.warning("left out of the adapters: %s: %s", path.name, error)
            return None


def check_fit(passport: Passport, fit: Fit) -> None:
    """Raises CheckpointError, naming both sides, for an adapter of another base or tower."""
    passport.spec.check_fits(fit.config, fit.base)
    if passport.base_fingerprint != fit.base_fingerprint:
        raise CheckpointError(
            f"The adapter '{passport.name}' was taught on {passport.base}; this is {fit.base}. "
            "Start with its base, or teach it anew on this one."
        )
    if passport.spec.visual and fit.tower and passport.tower_fingerprint != fit.tower_fingerprint:
        raise CheckpointError(
            f"The adapter '{passport.name}' sees through {passport.tower}; this program runs with "
            f"{fit.tower}. Start with its vision tower."
        )
    if fit.tower and not fit.sees(passport):
        visual = passport.spec.visual
        raise CheckpointError(
            f"The adapter '{passport.name}' takes {visual.feature_size:,} numbers of a picture; "
            f"{fit.tower} gives {fit.sizes[visual.kind]:,} for a '{visual.kind}'. Teach it anew "
            "with this tower."
        )
