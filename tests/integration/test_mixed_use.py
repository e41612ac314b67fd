"""An hour of everything that a page can be used for, and what the program then still holds."""

import io
import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import psutil
import pytest
from PIL import Image

from demo.chat.scheduler import UNUSED_SECONDS
from demo.settings import ROOT
from tests.browser.teach import WORDS
from tests.files import packed
from tests.serving import READY_SECONDS, Served, start, until
from tests.visitors import Visitor

pytestmark = [pytest.mark.nightly, pytest.mark.page]
USE_SECONDS = float(os.environ.get("NIGHTLY_USE", "3600"))
QUIET_SECONDS = UNUSED_SECONDS + 60  # by then nobody is taken to come back to a conversation
TAUGHT_SECONDS = 4 * READY_SECONDS  # beside chats without end it has two seconds of ten
MOST_MB = 1600
TURNS = 5  # of a chat, before the next is begun
PROMPTS, LAYERS, STEPS, BATCH = 4, 5, 7, 8  # fields of a training, by their place at its start
QUESTIONS = (
    "What is the capital of France?",
    "Write a short story about the sea.",
    "How is bread made?",
    "Name five animals of the forest.",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    room = tmp_path_factory.mktemp("room")
    shutil.copytree(ROOT / "checkpoints" / "adapters", room / "adapters")
    places = [f"--{name}={room / name}" for name in ("runs", "chats", "adapters")]
    served = start(*places)
    until(lambda: served.status()["state"] == "ready", READY_SECONDS, served)
    yield served
    assert served.stop() == 0


@pytest.mark.matrix("H8", "D18")
def test_after_an_hour_of_mixed_use_an_idle_server_holds_little(server: Served) -> None:
    stop, done = time.monotonic() + USE_SECONDS, Counter[str]()
    faults: list[str] = []

    def keep_using(use: Callable[[Visitor, np.random.Generator], None], number: int) -> None:
        draw = np.random.default_rng(number)
        while time.monotonic() < stop and len(faults) < 10:
            visitor = Visitor(server.url)
            try:
                use(visitor, draw)
                done[use.__name__] += 1
            except Exception as error:  # whatever a visitor meets is a fault to be told
                faults.append(f"{use.__name__}: {type(error).__name__}: {str(error)[:500]}")
            finally:
                visitor.close()
            time.sleep(2 * draw.random())

    uses = (talk, talk_about_pictures, bring_data, teach)
    threads = [threading.Thread(target=keep_using, args=(u, n)) for n, u in enumerate(uses)]
    for thread in threads:
        thread.start()
    seen: list[float] = []
    while any(thread.is_alive() for thread in threads):
        seen.append(memory(server))
        print(f"{time.strftime('%H:%M:%S')} {seen[-1]:.0f} MB {dict(done)}", flush=True)
        time.sleep(min(60.0, USE_SECONDS / 5))
    time.sleep(QUIET_SECONDS)
    left = memory(server)
    print(f"{left:.0f} MB idle, {max(seen):.0f} MB at most, {dict(done)}")
    assert faults == [] and all(done[use.__name__] for use in uses), (faults, done)
    assert left <= MOST_MB


def memory(server: Served) -> float:
    """Megabytes of the program that are resident, and of its children what is theirs alone."""
    process = psutil.Process(server.process.pid)
    held = process.memory_info().rss
    for child in process.children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            held += child.memory_full_info().uss
    return held / 2**20


def talk(visitor: Visitor, draw: np.random.Generator) -> None:
    """A chat of several turns, one of them answered twice, kept; then a program's question."""
    for _ in range(TURNS):
        visitor.send(str(draw.choice(QUESTIONS)) + f" {draw.integers(1000)}")
        time.sleep(draw.random())
    visitor.call("retry")
    visitor.call("refresh")
    visitor.call("begin")


def talk_about_pictures(visitor: Visitor, draw: np.random.Generator) -> None:
    """New pictures in every turn, and a video."""
    for number in range(TURNS):
        picture = visitor.upload("photo.jpg", photograph(draw))
        said = visitor.send("What is in the picture?", [picture])
        assert "problem" not in said or number, said[-500:]
        visitor.send("Is it an animal?")
        time.sleep(draw.random())
    visitor.send("What is this?", [visitor.upload("clip.gif", moving(draw))])


def bring_data(visitor: Visitor, draw: np.random.Generator) -> None:
    """A table, and a zip of pictures, both checked and measured, and not taught."""
    rows = [f"{word} {draw.integers(1000)},{word[::-1]}" for word in WORDS]
    table = "question,answer\n" + "\n".join(rows)
    visitor.call("upload", {1: visitor.upload("rows.csv", table.encode())})
    visitor.call("measure_3")
    names = [f"{n}.png" for n in range(12)]
    table = "image,question,answer\n" + "\n".join(f"{n},What is it?,noise {n}" for n in names)
    pictures = {name: photograph(draw, 200) for name in names}
    data = packed({"data.csv": table} | pictures)
    visitor.call("upload", {1: visitor.upload("pictures.zip", data)})
    visitor.call("measure_3")
    time.sleep(5 * draw.random())


def teach(visitor: Visitor, draw: np.random.Generator) -> None:
    """Teach a little, use it in a chat, and delete it."""
    rows = [[f"What is {w} {draw.integers(1000)} backwards?", f"It is {w[::-1]}."] for w in WORDS]
    visitor.call("rows", {1: {"headers": ["Question", "Reply"], "data": rows, "metadata": None}})
    visitor.call("start", {2: "backwards", PROMPTS: 4, LAYERS: 8, STEPS: 20, BATCH: 4})
    end = time.monotonic() + TAUGHT_SECONDS
    while "run-state done" not in (shown := json.dumps(visitor.call("tick", {}))):
        assert time.monotonic() < end and "run-state failed" not in shown, shown[-1000:]
        time.sleep(1)
    visitor.call("use")
    visitor.send(rows[0][0])
    visitor.call("delete")
    time.sleep(30 * draw.random())


def photograph(draw: np.random.Generator, side: int = 1200) -> bytes:
    """A picture of colours that run into one another; no two alike."""
    small = draw.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    room = io.BytesIO()
    Image.fromarray(small).resize((side, side * 3 // 4)).save(room, "JPEG", quality=88)
    return room.getvalue()


def moving(draw: np.random.Generator) -> bytes:
    """A GIF of twelve frames."""
    frames = [Image.open(io.BytesIO(photograph(draw, 240))) for _ in range(12)]
    room = io.BytesIO()
    frames[0].save(room, "GIF", save_all=True, append_images=frames[1:], duration=200)
    return room.getvalue()
