"""Killed at random moments, over and over: what was kept is there, and nothing else stays."""

import os
import random
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from demo.adapter.adapter import load_adapter
from demo.adapter.library import Library, clear_up, owner_of
from demo.chat.kept import KeptChats
from demo.finetune.runs.run_folder import Quota, RunStore
from demo.finetune.train.events import OVER
from demo.settings import ROOT
from demo.temporary_folder import LOCK, PREFIX
from tests.serving import READY_SECONDS, Served, start, until
from tests.visitors import Visitor
from tests.writers import CHECKPOINT, OWNER, REPLY, kept_chats, run_store

WRITERS = 75  # kills of what writes without a pause, by night; of the whole program:
PROGRAMS = 25
SECRET = "k" * 43


@pytest.mark.matrix("D13")
def test_what_was_kept_is_there_after_a_kill(tmp_path: Path) -> None:
    killed_while_writing(tmp_path, 2)


@pytest.mark.nightly
@pytest.mark.matrix("D13")
def test_what_was_kept_is_there_after_many_kills(tmp_path: Path) -> None:
    killed_while_writing(tmp_path, WRITERS)


def killed_while_writing(folder: Path, times: int) -> None:
    """Kill writers of chats, adapters and runs, and look at what they left."""
    draw, kept, unfinished = random.Random(1), Kept(), 0
    for _ in range(times):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.writers", str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout
        seen = set[str]()
        while not {"chat", "adapter", "run"} <= seen:  # all three are at work
            line = child.stdout.readline()
            assert line, "a writer ended by itself"
            kept.read(line)
            seen.add(line.split()[1])
        time.sleep(draw.random())
        child.kill()
        *said, _ = child.stdout.read().split("\n")  # the last one may have been cut by the kill
        for line in said:
            kept.read(line)
        child.wait()
        child.stdout.close()
        unfinished += len(list(folder.rglob(".*.part")))
        check(folder, kept)
    assert unfinished or times < 10  # some of them came in the middle of a file
    assert len(kept) > 10 * times


class Kept(dict[tuple[str, str], str]):
    """What writers have said last of each thing, by its kind and name."""

    def read(self, line: str) -> None:
        """Take one line."""
        what, kind, name, *rest = line.split()
        self[kind, name] = rest[0] if rest else what

    def of(self, kind: str) -> dict[str, str]:
        """All of a kind that is not about to go, by its name."""
        return {name: said for (k, name), said in self.items() if k == kind and said != "going"}


def check(folder: Path, kept: Kept) -> None:
    """Do what a start does; then all that is there can be read, and all that was kept is there."""
    for left in (*folder.rglob(".*.part"), *folder.rglob("*.owner")):
        os.utime(left, (1, 1))  # as if it were later
    clear_up(folder / "adapters")
    kept_chats(folder).sweep()
    run_store(folder).clear_up()
    assert not list(folder.rglob(".*.part"))
    check_chats(folder, kept)
    check_adapters(folder, kept)
    known = {run.path.name: run for run, _ in run_store(folder).all()}
    assert {path.name for path in (folder / "runs").iterdir()} == set(known)
    assert all(run.read().state in (*OVER, "waiting", "running") for run in known.values())
    assert all(name in known for name in kept.of("run"))
    assert all(known[n].checkpoint.read_bytes() == CHECKPOINT for n in kept.of("checkpoint"))


def check_chats(folder: Path, kept: Kept) -> None:
    """Every chat can be opened, and has the turns that it had."""
    chats, replies = kept_chats(folder), dict[str, int]()
    for path in (folder / "chats" / OWNER).iterdir():
        turns = chats.open(OWNER, path.name).turns
        assert all(turn.reply in ("", REPLY) for turn in turns)
        assert [bool(turn.picture) for turn in turns] == [False, True, True][: len(turns)]
        replies[path.name] = sum(bool(turn.reply) for turn in turns)
    assert all(replies[name] >= int(turns) for name, turns in kept.of("chat").items())


def check_adapters(folder: Path, kept: Kept) -> None:
    """Every adapter can be loaded and is its owner's alone; a renamed one has a name."""
    place = folder / "adapters"
    adapters = {entry.passport.name: entry for entry in Library(place).entries()}
    assert {path.stem for path in place.glob("*.safetensors")} == set(adapters)
    for entry in adapters.values():
        load_adapter(entry.path)
        assert entry.owner == OWNER
    assert {path.stem for path in place.glob("*.owner")} == set(adapters)
    for name, said in kept.of("adapter").items():
        if said == "kept":
            assert name in adapters
        elif name not in adapters:  # renamed, and perhaps gone since
            assert f"renamed-{name}" in adapters or kept.get(("adapter", f"renamed-{name}"))


@pytest.mark.nightly
@pytest.mark.page
@pytest.mark.matrix("D13", "D17", "M4")
def test_the_whole_program_is_killed_again_and_again(tmp_path: Path) -> None:
    """While it loads, writes chats, takes adapters and uploads, and trains."""
    draw, used = random.Random(1), Used(tmp_path)
    for number in range(PROGRAMS):
        served = used.start()
        assert len(used.locked()) == 1  # what a kill had left is swept
        visitors = [threading.Thread(target=used.keep, args=(served, use)) for use in used.uses]
        for thread in visitors:
            thread.start()
        if number % 2:  # a slow machine may have loaded nothing in half a minute
            until(lambda s=served: s.status()["state"] == "ready", READY_SECONDS, served)
        time.sleep(draw.uniform(0, 30))
        served.process.kill()
        served.process.wait()
        for thread in visitors:
            thread.join()
        print(f"kill {number + 1}: {used.told()}", flush=True)
        used.check()
    served = used.start()
    until(lambda: served.status()["state"] == "ready", READY_SECONDS, served)
    assert "Paris" in Visitor(served.url).send("What is the capital of France?")
    assert served.stop() == 0
    assert used.locked() == []
    assert used.questions and used.adapters and used.runs  # something was kept at all


class Used:
    """A program's folders, and what its visitors were told is kept there.

    Attributes:
        questions: that were answered.
        adapters, runs: that were there when an event of theirs had ended, by their files' names.
    """

    def __init__(self, folder: Path) -> None:
        self.temp = folder / "temp"
        self.temp.mkdir()
        self._places = {name: folder / name for name in ("runs", "chats", "adapters")}
        shutil.copytree(ROOT / "checkpoints" / "adapters", self._places["adapters"])
        self.questions, self.adapters, self.runs = set[str](), set[str](), set[str]()
        self.uses = (self.talk, self.bring, self.teach, self.upload)

    def start(self) -> Served:
        """Start the program on these folders."""
        places = [f"--{name}={place}" for name, place in self._places.items()]
        return start(*places, environment={"TMPDIR": str(self.temp)})

    def locked(self) -> list[Path]:
        """List temporary folders that a start made; a child that outlived its own makes one too."""
        return [path.parent for path in self.temp.glob(f"{PREFIX}*/{LOCK}")]

    def told(self) -> str:
        """Say how much is kept."""
        kept = (self.questions, self.adapters, self.runs)
        return "{} answers, {} adapters, {} trainings".format(*map(len, kept))

    def keep(self, served: Served, use: Callable[[Visitor], None]) -> None:
        """Use the page until it is gone; what is refused meanwhile is tried again."""
        while served.process.poll() is None:
            with suppress(httpx.HTTPError, AssertionError, ValueError):
                visitor = Visitor(served.url, owner=SECRET)
                try:
                    while True:
                        use(visitor)
                        time.sleep(0.2)
                finally:
                    visitor.close()

    def talk(self, visitor: Visitor) -> None:
        """Ask about a sample, and remember what was answered."""
        question = f"What is this, please, number {secrets.token_hex(4)}?"
        picture = (ROOT / "assets" / "samples" / "cat.png").read_bytes()
        said = visitor.send(question, [visitor.upload("cat.png", picture)])
        if question in said:
            self.questions.add(question)

    def bring(self, visitor: Visitor) -> None:
        """Bring an adapter."""
        adapter = ROOT / "checkpoints" / "adapters" / "shapes.safetensors"
        file = visitor.upload("shapes.safetensors", adapter.read_bytes())
        visitor.call("upload_1", {3: file})
        self.adapters |= self._own_adapters()
        time.sleep(2)

    def teach(self, visitor: Visitor) -> None:
        """Begin a training that goes on."""
        rows = [[f"What is {n} backwards?", f"It is {n[::-1]}."] for n in ("sun", "moon", "tree")]
        table = {"headers": ["Question", "Reply"], "data": rows * 4, "metadata": None}
        visitor.call("rows", {1: table})
        visitor.call("start", {2: "backwards", 4: 4, 5: 2, 7: 400, 8: 4})
        self.runs |= {path.parent.name for path in self._places["runs"].glob("*/run.json")}
        time.sleep(2)

    def upload(self, visitor: Visitor) -> None:
        """Send a file that nobody uses."""
        visitor.upload("rows.csv", os.urandom(1_000_000))

    def check(self) -> None:
        """Read all that is kept; nothing is lost that was told to be there."""
        chats, owner = KeptChats(self._places["chats"], megabytes=1024, days=90), owner_of(SECRET)
        asked = set[str]()
        for path in (self._places["chats"] / owner).glob("*/chat.json"):
            asked |= {turn.text for turn in chats.open(owner, path.parent.name).turns if turn.reply}
        assert self.questions <= asked
        assert self.adapters <= self._own_adapters()
        entries = Library(self._places["adapters"]).entries()
        assert {entry.path for entry in entries} == set(
            self._places["adapters"].glob("*.safetensors")
        )
        for entry in entries:
            load_adapter(entry.path)
        store = RunStore(self._places["runs"], Quota(), lambda run: None)
        assert self.runs <= {run.path.name for run, _ in store.all()}

    def _own_adapters(self) -> set[str]:
        there = {path.stem for path in self._places["adapters"].glob("*.safetensors")}
        return there & {path.stem for path in self._places["adapters"].glob("*.owner")}
