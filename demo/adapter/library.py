"""A folder of adapters: what is there, whose it is, what fits, and how one is put there.

An adapter's owner is in a small file beside it, `NAME.owner`; one without is everybody's. So every
program that offers the folder's adapters knows it, whatever becomes of the training that made them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from demo.adapter.passport import AdapterCard, Passport, read_name, read_passport
from demo.atomic_file import ABANDONED_SECONDS, remove_unfinished, replace_file
from demo.errors import CheckpointError, InputError
from demo.llama.config import LlamaConfig

if TYPE_CHECKING:
    from demo.adapter.adapter import Adapter
    from demo.vision.clip import Tower

log = logging.getLogger(__name__)
RESERVED = ("auto", "none")  # what a visitor chooses instead of an adapter
MAX_NAME = 40  # characters of a name that is given
SETTLED_NS = 2 * 10**9  # after which a folder's time tells every later change; clocks tick coarsely
LOADED_BYTES = 2**30  # of adapters kept in memory; whoever asks for another waits for its file
SECRET = re.compile(r"[\w-]{43}", re.ASCII)  # a browser's, as `secrets.token_urlsafe(32)` makes it


def owner_of(secret: str) -> str:
    """Give what is kept of a browser's secret: enough to know it again, not enough to be it."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:32]


def owner_file(folder: Path, name: str) -> Path:
    """Give the path of the file that names an adapter's owner."""
    return folder / f"{name}.owner"


def set_owner(folder: Path, name: str, owner: str) -> None:
    """Let an adapter belong to one visitor alone from now on.

    Args:
        folder: of the adapters.
        name: of the adapter.
        owner: by whom it was taught.

    Raises:
        OSError: the file beside it cannot be written.
    """
    with replace_file(owner_file(folder, name)) as unfinished:
        unfinished.write_text(owner, "utf-8")


def owners(folder: Path) -> dict[str, str]:
    """Read who owns which adapter, by the adapters' names.

    One whose file cannot be read is nobody's, not everybody's.
    """
    read = ((path.stem, _owner_in(path)) for path in folder.glob("*.owner"))
    return {name: owner for name, owner in read if owner is not None}


def _owner_in(path: Path) -> str | None:
    """Read whose an adapter is: None when the file is not there, "" when it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("no regular file")
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        log.warning("not known whose an adapter is: %s", path.name)
        return ""


@dataclass(frozen=True)
class LibraryEntry:
    """One adapter file that can be read.

    Attributes:
        path: of the file.
        passport: what it says of itself.
        stamp: modification time in ns and size; a replaced file is read again.
        owner: whom it belongs to, None for everybody.
    """

    path: Path
    passport: Passport
    stamp: tuple[int, int]
    owner: str | None = None


@dataclass(frozen=True)
class Compatibility:
    """The base and the tower that an adapter has to be compatible with.

    Attributes:
        base: its name, for messages.
        base_fingerprint: of its weights.
        config: its shape.
        tower: its name, None when no picture is in use.
        tower_fingerprint: of its weights.
        feature_size: numbers that the tower gives of a picture; not checked while it is None.
        token_size: numbers of each of its tokens; None where it has none.
    """

    base: str
    base_fingerprint: str
    config: LlamaConfig
    tower: str | None
    tower_fingerprint: str | None
    feature_size: int | None = None
    token_size: int | None = None

    def sees(self, passport: Passport) -> bool:
        """Whether the tower gives as many numbers as an adapter's projection takes."""
        visual = passport.spec.visual
        if visual and visual.kind == "query-transformer" and self.feature_size is not None:
            return self.token_size == visual.feature_size
        return not visual or self.feature_size in (None, visual.feature_size)


class Library:
    """The adapters of one folder, by name. Safe to use from several threads.

    A file that cannot be read is left out and logged; the others stay usable. An adapter that has
    an owner is known to nobody else, whatever they ask.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._entries: dict[str, LibraryEntry] = {}
        self._listed: tuple[tuple[object, ...], ...] | None = None  # what the folder held then
        self._settled: int | None = None  # the folder's time then, None when that was just now
        self._misnamed: dict[Path, tuple[int, int]] = {}  # files whose names were refused
        # By path: the stamp that was read, what it was found to fit, and the adapter.
        self._loaded: dict[Path, tuple[tuple[int, int], list[Compatibility], Adapter]] = {}

    def entries(self) -> tuple[LibraryEntry, ...]:
        """List what the folder holds now, by name, reading headers of new or changed files only.

        Every request asks, and others may have put thousands of files there: while none of them has
        changed, none is opened.
        """
        with self._lock:
            self._settled = _settled_time(self.folder)  # before it is looked through
            listed = _listed(self.folder)
            if listed == self._listed:
                return tuple(self._entries.values())
            self._listed = listed  # before it is read: what comes meanwhile is read next time
            whose = owners(self.folder)
            known = {entry.path: entry for entry in self._entries.values()}
            found: dict[str, LibraryEntry] = {}
            for path in sorted(self.folder.glob("*.safetensors")):
                entry = self._entry(path, known.get(path), whose)
                if entry and self._may_be_named(entry, found):
                    found[entry.passport.name] = entry
            self._entries = found
            return tuple(found.values())

    def offered(self, owner: str = "") -> tuple[LibraryEntry, ...]:
        """List the entries that are everybody's or this owner's."""
        return tuple(entry for entry in self.entries() if entry.owner in (None, owner or None))

    def cards(self, owner: str = "", tower: Tower | None = None) -> tuple[AdapterCard, ...]:
        """List what a visitor sees of the adapters.

        One that sees through another vision tower is left out as soon as ours is there: here it
        would be blind, and what it says without a picture is nothing it was taught.

        Args:
            owner: whose own are among them; those that other visitors made never are.
            tower: that is in use, None while there is none.
        """
        passports = [entry.passport for entry in self.offered(owner)]
        return tuple(
            p.card
            for p in passports
            if tower is None or p.tower_fingerprint in (None, tower.fingerprint)
        )

    def find(self, name: str, owner: str = "") -> LibraryEntry:
        """Find the adapter of that name.

        Args:
            name: as its passport says it.
            owner: who asks; adapters that others own do not exist for them.

        Raises:
            InputError: there is no such adapter for this owner; the message lists what there is.
        """
        known = self._still_there(name)
        if known and known.owner in (None, owner or None):
            return known
        offered = {entry.passport.name: entry for entry in self.offered(owner)}
        if name not in offered:
            names = ", ".join(sorted(offered)) or "none in this folder"
            raise InputError(f"There is no adapter '{name[:60]}'. Choose auto, none, or: {names}.")
        return offered[name]

    def _still_there(self, name: str) -> LibraryEntry | None:
        """Give a known entry when neither its files nor the folder have changed, else None.

        To look at each of a thousand files would cost a request more than its prompts do. A file
        that comes or goes changes the time of its folder, and one that is written to its own.
        """
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or self._settled is None:
                return None
            try:
                status = entry.path.stat()
                same = self.folder.stat().st_mtime_ns == self._settled
            except OSError:
                return None
            same = same and (status.st_mtime_ns, status.st_size) == entry.stamp
            if same and entry.owner is not None:
                same = _owner_in(owner_file(self.folder, name)) == entry.owner
            return entry if same else None

    def load(self, entry: LibraryEntry, fit: Compatibility) -> Adapter:
        """Load an adapter and check it against base and tower, once for each of its files.

        Raises:
            CheckpointError: the file is damaged, or made for another base or tower.
        """
        with self._lock:
            loaded = self._loaded.get(entry.path)
            if loaded and loaded[0] == entry.stamp and fit in loaded[1]:
                self._loaded[entry.path] = self._loaded.pop(entry.path)  # the last one used
                return loaded[2]
        check_compatible(entry.passport, fit)
        # Imported here: a folder is listed before torch is there, and torch takes seconds.
        from demo.adapter.adapter import load_adapter

        with self._lock:
            loaded = self._loaded.get(entry.path)
            if loaded is None or loaded[0] != entry.stamp:
                loaded = (entry.stamp, [], load_adapter(entry.path)[0])
                self._loaded.pop(entry.path, None)
                self._loaded[entry.path] = loaded
                self._drop_loaded()
            loaded[1].append(fit)
            return loaded[2]

    def _drop_loaded(self) -> None:
        """Forget the adapters that were not used for longest, beyond the last one and a bound."""
        held = sum(size for (_, size), *_ in self._loaded.values())
        while held > LOADED_BYTES and len(self._loaded) > 1:
            (_, size), *_ = self._loaded.pop(next(iter(self._loaded)))
            held -= size

    def for_images(self, fit: Compatibility) -> tuple[LibraryEntry, ...]:
        """List everybody's adapters that see through this tower, on this base.

        Raises:
            InputError: there is none; the message says so with the tower's name.
        """

        def fits(passport: Passport) -> bool:
            same_base = passport.base_fingerprint == fit.base_fingerprint
            same_tower = passport.tower_fingerprint == fit.tower_fingerprint
            return same_base and same_tower and fit.sees(passport)

        entries = tuple(entry for entry in self.offered() if fits(entry.passport))
        if entries:
            return entries
        raise InputError(
            f"No adapter here sees through {fit.tower} on {fit.base}. Remove the picture, or start "
            "with the base and the vision tower that an image adapter was made for."
        )

    def load_for_images(self, fit: Compatibility) -> list[tuple[LibraryEntry, Adapter]]:
        """Load all adapters of `for_images`; a damaged one blinds nobody but itself.

        Raises:
            InputError: as `for_images`.
            CheckpointError: all of them are damaged.
        """
        loaded: list[tuple[LibraryEntry, Adapter]] = []
        damage: CheckpointError | None = None
        for entry in self.for_images(fit):
            try:
                loaded.append((entry, self.load(entry, fit)))
            except CheckpointError as error:
                damage = error
        if damage and not loaded:
            raise damage
        return loaded

    def _may_be_named(self, entry: LibraryEntry, found: dict[str, LibraryEntry]) -> bool:
        """Refuse a name that stands for something else, and log it once for each file."""
        name, path = entry.passport.name, entry.path
        if name not in RESERVED and name not in found:
            return True
        if self._misnamed.get(path) != entry.stamp:
            self._misnamed[path] = entry.stamp
            why = f"is {found[name].path.name}'s" if name in found else "means something else"
            log.warning("left out of the adapters: %s: the name '%s' %s", path.name, name, why)
        return False

    def _entry(
        self, path: Path, known: LibraryEntry | None, whose: dict[str, str]
    ) -> LibraryEntry | None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            unchanged = known if known and known.stamp == stamp else None
            passport = unchanged.passport if unchanged else read_passport(path)
            return LibraryEntry(path, passport, stamp, whose.get(passport.name))
        except (OSError, CheckpointError) as error:
            log.warning("left out of the adapters: %s: %s", path.name, error)
            return None


def _settled_time(folder: Path) -> int | None:
    """Give when files last came to a folder or went, None when that is only just over."""
    with suppress(OSError):
        changed = folder.stat().st_mtime_ns
        if time.time_ns() - changed > SETTLED_NS:
            return changed
    return None


def _listed(folder: Path) -> tuple[tuple[object, ...], ...]:
    """Give the files of a folder that say what adapters there are, with all that tells a change."""
    found: list[tuple[object, ...]] = []
    with suppress(FileNotFoundError), os.scandir(folder) as files:
        for file in files:
            if file.name.endswith((".safetensors", ".owner")):
                try:
                    status = file.stat()
                except OSError:  # it goes just now, or is a link to nowhere
                    found.append((file.name, 0, 0, 0))
                else:
                    found.append((file.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(sorted(found))


def check_compatible(passport: Passport, used: Compatibility) -> None:
    """Compare an adapter with the base and the tower in use.

    Raises:
        CheckpointError: it was taught on another base or tower; the message names both sides.
    """
    passport.spec.check_fits(used.config, used.base)
    if passport.base_fingerprint != used.base_fingerprint:
        raise CheckpointError(
            f"The adapter '{passport.name}' was taught on {passport.base}; this is {used.base}. "
            "Start with its base, or teach it anew on this one."
        )
    if passport.spec.visual and used.tower and passport.tower_fingerprint != used.tower_fingerprint:
        raise CheckpointError(
            f"The adapter '{passport.name}' sees through {passport.tower}; this program runs with "
            f"{used.tower}. Start with its vision tower."
        )
    visual = passport.spec.visual
    if used.tower and visual and visual.tokens and not used.sees(passport):
        has = f"tokens of {used.token_size:,}" if used.token_size else "no tokens"
        raise CheckpointError(
            f"The adapter '{passport.name}' takes tokens of {visual.feature_size:,} numbers; "
            f"{used.tower} gives {has}. Start with its vision tower."
        )
    if used.tower and visual and not used.sees(passport):
        raise CheckpointError(
            f"The adapter '{passport.name}' takes {visual.feature_size:,} numbers of a picture; "
            f"{used.tower} gives {used.feature_size:,}. Teach it anew with this tower."
        )


def publish(adapter: Path, folder: Path, name: str, *, owner: str = "", again: bool = False) -> str:
    """Copy an adapter's file into a folder of adapters and return the name it has there.

    Args:
        adapter: the file; it is opened and checked first.
        folder: of the adapters.
        name: that is asked for; the passport takes the one that is given.
        owner: who alone may use it, "" for everybody.
        again: `name` is of one that was published before and is replaced.

    Raises:
        CheckpointError: the file is damaged.
        OSError: the folder cannot be written to.
    """
    from demo.adapter.adapter import load_adapter, save_adapter  # torch takes seconds

    loaded, passport = load_adapter(adapter)
    free = name if again else free_name(name, taken_names(folder))
    if owner:  # before the file itself, so that it is never anybody's
        set_owner(folder, free, owner)
    save_adapter(loaded, replace(passport, name=free), folder / f"{free}.safetensors")
    return free


def clear_up(folder: Path) -> None:
    """Remove what killed programs left: half written files, owners of adapters that never came."""
    remove_unfinished(folder)
    owned = list(folder.glob("*.owner"))
    if not owned:
        return
    try:
        names = {path.stem for path in folder.glob("*.safetensors")}
        names |= {read_passport(path).name for path in folder.glob("*.safetensors")}
    except CheckpointError:  # whose that one is must stay known
        return
    for path in owned:
        with suppress(OSError):  # it goes just now
            old = time.time() - path.stat().st_mtime >= ABANDONED_SECONDS
            if old and path.stem not in names:
                path.unlink()


def free_name(name: str, taken: set[str]) -> str:
    """Return a name close to what was asked for that is safe for a file and not in use."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    safe = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_NAME].strip("-") or "adapter"
    free, number = safe, 2
    while free in taken or free in RESERVED:
        free, number = f"{safe}-{number}", number + 1
    return free


def taken_names(folder: Path) -> set[str]:
    """Give the names in use, those of files and those of adapters: the two may differ."""
    taken = set(owners(folder))
    for path in folder.glob("*.safetensors"):
        taken.add(path.stem.lower())
        try:
            taken.add(read_name(path).lower())
        except CheckpointError:
            continue
    return taken
