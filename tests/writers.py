"""Chats, adapters and runs written without a pause, by a process that tests kill.

`python -m tests.writers FOLDER` writes all three at once and says on its standard output what is
kept by then, a line each: "kept KIND NAME TURNS", "renaming KIND NAME" or "going KIND NAME".
"""

import itertools
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from demo.adapter.library import Library, publish
from demo.adapter.shelf import Shelf
from demo.atomic_file import replace_file
from demo.chat.conversation import Conversation
from demo.chat.kept import KeptChats
from demo.finetune.runs.run_folder import Quota, RunRequest, RunStore
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import RunStage
from demo.settings import ROOT, Settings
from demo.vision.image import Picture

OWNER = "a" * 32
ADAPTER = ROOT / "checkpoints" / "adapters" / "shapes.safetensors"
REPLY = "a reply " * 40
CHECKPOINT = bytes(500_000)
ROWS = "question,answer\nwhat,that\n"
MOST = 6  # adapters and runs that lie there at one time
Say = Callable[..., None]


def kept_chats(folder: Path) -> KeptChats:
    """Return the chats of a folder, as the program keeps them."""
    return KeptChats(folder / "chats", megabytes=1024, days=90)


def run_store(folder: Path) -> RunStore:
    """Return the runs of a folder, as the program keeps them."""
    return RunStore(folder / "runs", Quota(), lambda run: None)


def write_chats(folder: Path, say: Say) -> None:
    """Chats of three turns, two with a picture; old ones are deleted."""
    kept = kept_chats(folder)
    there = [chat.id for chat in kept.chats(OWNER)[0]]
    for number in itertools.count():
        conversation = Conversation()
        kept.adopt(OWNER, conversation)
        for turn in range(3):
            shade = np.full((60, 80, 3), (number * 3 + turn) % 256, np.uint8)
            conversation.ask(f"question {turn}", Picture(shade) if turn else None)
            conversation.begin()
            conversation.finish(REPLY, None)
            say("kept", "chat", conversation.id, turn + 1)
        there.append(conversation.id)
        while len(there) > MOST:
            say("going", "chat", there[0])
            kept.delete(OWNER, there.pop(0))


def write_adapters(folder: Path, say: Say) -> None:
    """Adapters that are published, every second one renamed; old ones are deleted."""
    place = folder / "adapters"
    place.mkdir(exist_ok=True)
    library = Library(place)
    shelf, there = Shelf(library), [entry.passport.name for entry in library.entries()]
    for number in itertools.count():
        name = publish(ADAPTER, place, "own", owner=OWNER)
        say("kept", "adapter", name)
        if number % 2:
            say("renaming", "adapter", name)
            name = shelf.change(name, OWNER, f"renamed {name}", "what it is for")
            say("kept", "adapter", name)
        there.append(name)
        while len(there) > MOST:
            say("going", "adapter", there[0])
            shelf.delete(there.pop(0), OWNER)


def write_runs(folder: Path, say: Say) -> None:
    """Runs that are made, go on, keep their state, and end; old ones are deleted."""
    store = run_store(folder)
    there = [run for run, _ in store.all()]
    data = folder / "rows.csv"
    data.write_text(ROWS)
    while True:
        run = store.new()
        run.create(RunRequest("me", "mirror", TrainingOptions(), Settings()), data)
        say("kept", "run", run.path.name)
        run.write(RunStage("running"))
        with replace_file(run.checkpoint) as unfinished:
            unfinished.write_bytes(CHECKPOINT)
        say("kept", "checkpoint", run.path.name)
        run.write(RunStage("done"))
        there.append(run)
        while len(there) > MOST:
            for kind in ("run", "checkpoint"):
                say("going", kind, there[0].path.name)
            store.delete(there.pop(0))


def main(folder: Path) -> None:
    """Write until killed."""
    lock = threading.Lock()

    def say(*words: object) -> None:
        with lock:
            print(*words, flush=True)

    def work(write: Callable[[Path, Say], None]) -> None:
        try:
            write(folder, say)
        finally:  # it never ends but by a fault, which whoever reads is to see
            traceback.print_exc()
            os._exit(1)

    writes = (write_chats, write_adapters, write_runs)
    threads = [threading.Thread(target=work, args=(write,)) for write in writes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
