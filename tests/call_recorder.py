"""Records which functions of the program a piece of work enters, in which order and from where.

A walk is read as a newcomer reads it: every function once, when it is first entered, thread by
thread. A move leads from one file to another; a return is a move to a file that was left before.
What numba compiles is not visible to Python; what it calls to compile, which it does in a fresh
clone alone, what a file does on import and what Jinja2 makes of a template are left out.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType

OPTIMISED = 1  # CO_OPTIMIZED: code of a function; a module's and a class body's lack it
# Code that is part of the function around it.
INNER = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
Function = tuple[str, str]  # file, qualified name


@dataclass
class Walk:
    """What was entered: functions by thread in the order of their first entry, and who calls whom.

    Attributes:
        threads: one list of functions for each thread, in the order in which the threads began.
        calls: (caller, callee) pairs of functions in different files.
    """

    threads: list[list[Function]] = field(default_factory=list)
    calls: set[tuple[Function, Function]] = field(default_factory=set)

    @property
    def order(self) -> list[Function]:
        """All functions, none twice."""
        return list(dict.fromkeys(entered for thread in self.threads for entered in thread))

    @property
    def files(self) -> list[str]:
        """All files in the order in which they are first entered."""
        return list(dict.fromkeys(file for file, _ in self.order))

    def moves(self) -> tuple[int, int]:
        """How often the file changes along `order`, and how often to one that was left before."""
        moves = returns = 0
        seen: set[str] = set()
        last = ""
        for file, _ in self.order:
            if file != last:
                moves += last != ""
                returns += file in seen
            seen.add(file)
            last = file
        return moves, returns

    def summary(self) -> str:
        """One line of counts."""
        moves, returns = self.moves()
        return (
            f"{len(self.files)} files, {len(self.order)} functions, "
            f"{len(self.calls)} calls across files, {moves} moves, {returns} returns"
        )

    def merged(self, other: Walk) -> Walk:
        """This walk and then another, of another process."""
        return Walk([*self.threads, *other.threads], self.calls | other.calls)

    def to_json(self) -> str:
        """For another process."""
        return json.dumps({"threads": self.threads, "calls": sorted(self.calls)})

    @classmethod
    def from_json(cls, text: str) -> Walk:
        """What `to_json` wrote."""
        fields = json.loads(text)
        threads = [[(file, name) for file, name in thread] for thread in fields["threads"]]
        return cls(threads, {((*a,), (*b,)) for a, b in fields["calls"]})


class Recorder:
    """Notes calls into the files below `root` while it is on.

    Threads that begin after `install` are seen; those that began before are not.
    """

    def __init__(self, root: Path, folders: tuple[str, ...] = ("demo", "app.py")) -> None:
        self._root = f"{root}/"
        self._kept = tuple(f"{root}/{name}" for name in folders)
        numba = find_spec("numba")
        assert numba and numba.origin
        self._compiler = str(Path(numba.origin).parent)
        self._names: dict[CodeType, Function | None] = {}
        self._entered: dict[int, list[Function]] = defaultdict(list)  # by thread
        self._calls: set[tuple[Function, Function]] = set()
        self.on = False

    def install(self) -> None:
        """Listen in this thread and in all that begin from now on."""
        threading.setprofile(self._listen)
        sys.setprofile(self._listen)

    def walk(self) -> Walk:
        """What was noted so far."""
        threads = [list(dict.fromkeys(entered)) for entered in self._entered.values()]
        return Walk(threads, set(self._calls))

    def _listen(self, frame: FrameType, event: str, argument: object) -> None:
        if not self.on or event != "call":
            return
        callee = self._function(frame.f_code)
        if callee is None:
            return
        caller, left_out = self._caller(frame)
        if left_out:
            return
        entered = self._entered[threading.get_ident()]
        if not entered or entered[-1] != callee:
            entered.append(callee)
        if caller and caller[0] != callee[0]:
            self._calls.add((caller, callee))

    def _caller(self, frame: FrameType) -> tuple[Function | None, bool]:
        """The nearest function of the program below a frame, and whether it is left out there.

        A file is imported, or a kernel compiled. What other libraries call in between is passed
        over.
        """
        outer, nearest = frame.f_back, None
        while outer is not None:
            code = outer.f_code
            if code.co_filename.startswith(self._compiler):
                return None, True
            nearest = nearest or self._function(code)
            module = code.co_name == "<module>" and code.co_filename.startswith(self._kept)
            if module and not nearest:
                return None, outer.f_globals.get("__name__") != "__main__"
            outer = outer.f_back
        return nearest, False

    def _function(self, code: CodeType) -> Function | None:
        if code not in self._names:
            kept = code.co_filename.startswith(self._kept) and code.co_flags & OPTIMISED
            named = kept and code.co_name not in INNER and code.co_filename.endswith(".py")
            file = code.co_filename.removeprefix(self._root)
            self._names[code] = (file, code.co_qualname) if named else None
        return self._names[code]
