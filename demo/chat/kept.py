"""Chats that outlive their page: one folder a chat, one folder of them a visitor.

Whose a chat is follows from a secret that the browser keeps, of which only a digest is a folder's
name. A chat is written anew with every question and every reply, whole or not at all, so whatever
ends the program costs at most the reply under way. Pictures lie beside it, each once.

    <folder>/<owner>/<chat>/chat.json
    <folder>/<owner>/<chat>/<digest>.webp
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from cachetools import LRUCache

from demo.atomic_file import remove_unfinished
from demo.chat.chat_file import FILE, read_chat, read_summary, read_words, write_chat
from demo.chat.conversation import Conversation
from demo.errors import DemoError, InputError

log = logging.getLogger(__name__)
CHAT_ID = re.compile(r"[a-z0-9]{12}")
HALF_DELETED = re.compile(r"\.[a-z0-9]{12}\.[0-9a-f]{8}")  # when the program was killed
OWNER = re.compile(r"[A-Za-z0-9_-]{8,64}")
CHATS_AN_OWNER = 2_000
LISTED = 60  # chats that a list shows; a search finds the others
SWEEP_SECONDS = 3600.0  # between two looks for what is too old, or too much
TITLE = 80  # characters


@dataclass(frozen=True)
class ChatSummary:
    """A line of the list of chats; `changed` is seconds since 1970."""

    id: str
    title: str
    changed: float
    pictures: int


class KeptChats:
    """The chats of all visitors on the disk. Safe to use from several threads.

    Args:
        folder: for all of them, made when needed; None keeps nothing.
        megabytes: of all chats together; the ones that were not used for longest go.
        days: after which a chat that nobody used goes.

    Attributes:
        on: whether chats are kept.
    """

    def __init__(self, folder: Path | None, *, megabytes: int, days: int) -> None:
        self._folder, self._bytes, self._seconds = folder, megabytes * 2**20, days * 86_400.0
        self.on, self.days = folder is not None, days
        self._open: WeakValueDictionary[tuple[str, str], Conversation] = WeakValueDictionary()
        self._summaries: LRUCache[tuple[str, int, int], ChatSummary] = LRUCache(8192)
        self._names: LRUCache[str, str] = LRUCache(4096)
        self._lock = threading.RLock()
        self._swept = 0.0

    def open(self, owner: str, chat: str) -> Conversation:
        """Open a chat; tabs that show the same one share it.

        Raises:
            InputError: this visitor has no such chat, or it can no longer be read.
        """
        path = self._path(owner, chat)
        with self._lock:
            there = self._open.get((owner, chat))
            if there is None:
                there = Conversation()
                read_chat(path / FILE, there)
                self._keep(owner, chat, there)
            return there

    def adopt(self, owner: str, conversation: Conversation) -> None:
        """Keep a conversation from now on; without turns nothing is written yet."""
        if not self.on or conversation.id or not OWNER.fullmatch(owner):
            return
        with self._lock:
            self._keep(owner, secrets.token_hex(6), conversation)
        if conversation.turns and not conversation.answering:
            self._save(owner, conversation)

    def chats(self, owner: str, search: str = "") -> tuple[list[ChatSummary], int]:
        """Give a visitor's chats, the last used first, at most `LISTED`, and how many there are.

        Args:
            owner: whose.
            search: words that their title or turns hold, in upper or lower case.
        """
        files = self._files(owner)
        wanted = search.casefold().split()
        found: list[ChatSummary] = []
        for path, stat in files:
            if len(found) == LISTED:
                break
            summary = self._summary(path, stat)
            if summary and (not wanted or self._holds(path, summary, wanted)):
                found.append(summary)
        return found, len(files)

    def rename(self, owner: str, chat: str, title: str) -> None:
        """Give a chat a name of its own; an empty one is that of its first question again."""
        conversation = self.open(owner, chat)
        conversation.title = " ".join(title.split())[:TITLE]
        self._save(owner, conversation)

    def delete(self, owner: str, chat: str) -> None:
        """Delete a chat for good; a page that shows it keeps it no longer."""
        path = self._path(owner, chat)
        with self._lock:
            if shown := self._open.pop((owner, chat), None):
                shown.on_change = None
                shown.id = ""
            _remove(path)

    def delete_all(self, owner: str) -> None:
        """Delete all chats of a visitor for good."""
        for path, _ in self._files(owner):
            self.delete(owner, path.parent.name)

    def sweep(self, now: float | None = None) -> None:
        """Delete what is too old or too much; cheap to call often, it looks once an hour."""
        now = time.time() if now is None else now
        if self._folder is None or now - self._swept < SWEEP_SECONDS:
            return
        self._swept, kept = now, []
        for folder in _folders(self._folder):
            if not OWNER.fullmatch(folder.name):
                continue  # of somebody else, such as a disk's lost+found
            for path in _folders(folder):
                if HALF_DELETED.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)
                if not CHAT_ID.fullmatch(path.name):
                    continue
                remove_unfinished(path)
                size, used = _measured(path)
                if now - used > self._seconds:
                    self.delete(folder.name, path.name)
                else:
                    kept.append((used, size, folder.name, path.name))
            with suppress(OSError):
                folder.rmdir()  # of a visitor without chats
        total = sum(size for _, size, _, _ in kept)
        for _, size, owner, chat in sorted(kept):
            if total <= self._bytes:
                break
            self.delete(owner, chat)
            total -= size

    def _keep(self, owner: str, chat: str, conversation: Conversation) -> None:
        conversation.id = chat
        conversation.on_change = lambda changed: self._changed(owner, changed)
        self._open[owner, chat] = conversation

    def _changed(self, owner: str, conversation: Conversation) -> None:
        try:
            self._save(owner, conversation)
        except Exception:  # the reply is there all the same
            log.exception("a chat could not be kept")

    def _save(self, owner: str, conversation: Conversation) -> None:
        """Write a chat, and make room for it where it is a new one."""
        path = self._path(owner, conversation.id)
        with self._lock:
            if not path.exists():
                if not conversation.turns:
                    return
                for old, _ in self._files(owner)[CHATS_AN_OWNER - 1 :]:
                    self.delete(owner, old.parent.name)
                path.mkdir(parents=True, mode=0o700)
            write_chat(path / FILE, conversation, self._names)

    def _path(self, owner: str, chat: str) -> Path:
        """Find a chat's folder. Raises InputError for what cannot be one."""
        if self._folder is None or not OWNER.fullmatch(owner) or not CHAT_ID.fullmatch(chat):
            raise InputError("This chat is not here: it was deleted, or is another browser's.")
        return self._folder / owner / chat

    def _files(self, owner: str) -> list[tuple[Path, os.stat_result]]:
        """Find a visitor's chats on the disk, the last used first."""
        if self._folder is None or not OWNER.fullmatch(owner):
            return []
        found = []
        for path in _folders(self._folder / owner):
            with suppress(OSError):  # it goes just now, or nothing was written yet
                found.append((path / FILE, (path / FILE).stat()))
        return sorted(found, key=lambda entry: -entry[1].st_mtime_ns)

    def _summary(self, path: Path, stat: os.stat_result) -> ChatSummary | None:
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        summary = self._summaries.get(key)
        if summary is None:
            with suppress(DemoError, OSError):
                title, pictures = read_summary(path)
                summary = ChatSummary(path.parent.name, title[:TITLE], stat.st_mtime, pictures)
                self._summaries[key] = summary
        return summary

    def _holds(self, path: Path, summary: ChatSummary, words: list[str]) -> bool:
        text = summary.title.casefold()
        if not all(word in text for word in words):
            text += read_words(path).casefold()
        return all(word in text for word in words)


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _measured(path: Path) -> tuple[int, float]:
    """Give the bytes of a chat's folder, and when it was last used."""
    size, used = 0, 0.0
    for file in path.glob("*"):  # of nothing, where the folder goes just now
        with suppress(FileNotFoundError):
            stat = file.stat()
            size, used = size + stat.st_size, max(used, stat.st_mtime)
    return size, used


def _remove(path: Path) -> None:
    # Renamed first, so that what is half deleted is no chat any more.
    with suppress(OSError):
        gone = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        path.rename(gone)
        path = gone
    shutil.rmtree(path, ignore_errors=True)
