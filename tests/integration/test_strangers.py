"""The served program, attacked over HTTP for as long as it takes: `python -m tests.nightly`."""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving import READY_SECONDS, Served, start, until

pytestmark = [pytest.mark.nightly, pytest.mark.page]
API = "/gradio_api"
CASES = int(os.environ.get("NIGHTLY_CASES", "5000"))
SOAK_SECONDS = float(os.environ.get("NIGHTLY_SOAK", "1800"))
WORDS = st.text(max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = start("--runs", str(tmp_path_factory.mktemp("runs")))
    until(lambda: served.status()["state"] == "ready", READY_SECONDS, served)
    yield served
    assert served.stop() == 0


def reply(server: Served, timeout: float = 120.0, **fields: object) -> str:
    """The events of one call of `/chat`, "" where it was told to come later."""
    with httpx.Client(base_url=server.url + API, timeout=timeout) as client:
        asked = client.post("/call/v2/chat", json={"message": "Say hi."} | fields)
        if asked.status_code in (429, 503):
            return ""
        return client.get(f"/call/v2/chat/{asked.json()['event_id']}").text


def answers(server: Served) -> bool:
    return "event: complete" in reply(server, max_new_tokens=10)


def seconds_to_answer(server: Served) -> float:
    begun = time.monotonic()
    while not answers(server):
        assert time.monotonic() - begun < 120
    return time.monotonic() - begun


@pytest.mark.matrix("D1")
def test_fifty_at_once_all_finish_or_are_told(server: Served) -> None:
    with ThreadPoolExecutor(50) as pool:
        told = list(pool.map(lambda n: reply(server, max_new_tokens=10, seed=n), range(50)))
    assert all(text == "" or "event: complete" in text or "busy" in text for text in told)
    assert sum("event: complete" in text for text in told) >= 24  # slots and queue
    assert answers(server)


@pytest.mark.matrix("D3")
def test_after_two_hundred_that_leave_the_next_is_answered(server: Served) -> None:
    client = httpx.Client(base_url=server.url + API, limits=httpx.Limits(max_connections=200))

    def cut(n: int) -> bool:
        body = {"message": "Write a long story.", "max_new_tokens": 1000, "seed": n}
        end = time.monotonic() + 0.5
        try:
            asked = client.post("/call/v2/chat", json=body, timeout=0.5)
            if asked.status_code != 200:  # told to come later
                return False
            path, left = f"/call/v2/chat/{asked.json()['event_id']}", end - time.monotonic()
            with client.stream("GET", path, timeout=max(0.01, left)) as stream:
                return any(time.monotonic() >= end for _ in stream.iter_lines())
        except httpx.TimeoutException:
            return True

    alone = seconds_to_answer(server)
    for together in (20, 200):
        with ThreadPoolExecutor(together) as pool:
            assert sum(pool.map(cut, range(200))) >= 20  # the others were told to come later
        after = seconds_to_answer(server)
        print(f"200 cut, {together} at once: the next answer in {after:.2f} s, alone {alone:.2f} s")
        assert after < 5 + 5 * alone  # 5 s on a machine that does nothing else
    client.close()


@pytest.mark.matrix("D5")
def test_after_fifty_that_never_listen_the_next_is_answered(server: Served) -> None:
    for n in range(50):
        body = {"message": "Write a long story.", "max_new_tokens": 1000, "seed": n}
        httpx.post(f"{server.url}{API}/call/v2/chat", json=body, timeout=60)
    assert seconds_to_answer(server) < 20


@pytest.mark.matrix("D6")
def test_two_hundred_that_dribble_hold_up_nobody(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    begun = [
        "GET / HTTP/1.1\r\nHost: {0}\r\nX-a: ",
        "POST /gradio_api/upload HTTP/1.1\r\nHost: {0}\r\nContent-Type: multipart/form-data; "
        "boundary=b\r\nContent-Length: 1000000\r\n\r\n--b\r\n",
        "GET /gradio_api/heartbeat/x HTTP/1.1\r\nHost: {0}\r\n\r\n",
        "POST /gradio_api/queue/join HTTP/1.1\r\nHost: {0}\r\nContent-Type: application/json\r\n"
        "Content-Length: 100000\r\n\r\n{{",
    ]
    before, sockets = memory(server), []
    for n in range(200):
        one = socket.create_connection((host, int(port)))
        one.sendall(begun[n % 4].format(f"{host}:{port}").encode())
        sockets.append(one)
    assert answers(server)
    assert memory(server) - before < 100
    for one in sockets:
        one.close()
    assert answers(server)


@pytest.mark.matrix("C12")
def test_any_call_is_answered_without_a_fault_of_the_server(server: Served) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        config = client.get("/config").json()
        names = [d["api_name"] for d in config["dependencies"] if isinstance(d["api_name"], str)]
        count = len(config["dependencies"])
        paths = st.sampled_from(
            [f"{API}/{kind}/{name}" for kind in ("run", "call", "call/v2") for name in names]
            + [f"{API}/{place}" for place in ("queue/join", "cancel", "reset", "component_server")]
        )
        numbers = st.integers(-2, count + 2)
        bodies = st.fixed_dictionaries(
            {"data": st.lists(VALUES, max_size=12)},
            optional={
                "fn_index": numbers, "session_hash": WORDS, "event_id": WORDS,
                "trigger_id": numbers, "event_data": VALUES, "simple_format": st.booleans(),
                "component_id": numbers, "fn_name": WORDS, "message": VALUES, "image": VALUES,
            },
        )  # fmt: skip

        @settings(
            max_examples=CASES, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(paths, bodies | VALUES)
        def call(path: str, body: object) -> None:
            text = json.dumps(body).encode("utf-8", "surrogatepass")
            answer = client.post(path, content=text, headers={"content-type": "application/json"})
            assert answer.status_code < 500 or answer.status_code == 503, (path, body, answer.text)

        call()
    assert seconds_to_answer(server) < 60  # some of those calls were questions


@pytest.mark.matrix("C12", "C1")
def test_any_address_is_answered_without_a_fault_of_the_server(server: Served) -> None:
    """All that gradio has, whatever stands in the place of names and numbers."""
    strange = st.sampled_from(("../../etc/passwd", "a/../b", "-1", "30000", "%00", "..%2f", "zh"))
    parts = strange | WORDS | st.integers().map(str)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        paths = client.get("/openapi.json").json()["paths"]
        known = [path for path, ways in paths.items() if "get" in ways]
        assert len(known) > 20

        @settings(
            max_examples=CASES // 5, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.sampled_from(known), st.lists(parts, min_size=6, max_size=6), parts)
        def ask(path: str, given: list[str], value: str) -> None:
            for part in given:
                text = quote(part, errors="replace")
                path = re.sub(r"{.*?}", lambda _, text=text: text, path, count=1)
            names = ("session_hash", "upload_id", "deep_link", "view", "__theme", "asset_id")
            query = urlencode(dict.fromkeys(names, value), errors="replace")
            with client.stream("GET", f"{path}?{query}") as answer:
                first = next(answer.iter_bytes(), b"")  # a stream may go on for ever
                assert answer.status_code < 500, (path, query, first)
                assert b"root:" not in first

        ask()
    assert seconds_to_answer(server) < 60


@pytest.mark.matrix("D18")
def test_mixed_use_leaves_the_program_as_it_was(server: Served, tmp_path: Path) -> None:
    """Text, and questions about a picture that each visitor sends, by eight of them."""
    stop, process = time.monotonic() + SOAK_SECONDS, psutil.Process(server.process.pid)
    faults: list[str] = []

    def visitor(number: int) -> None:
        draw, client = (
            np.random.default_rng(number),
            httpx.Client(base_url=server.url + API, timeout=60),
        )
        picture = Path("assets/samples/cat.png").read_bytes()
        while time.monotonic() < stop:
            fields: dict[str, object] = {"max_new_tokens": 30, "seed": int(draw.integers(1000))}
            if draw.random() < 0.5:
                sent = client.post("/upload", files={"files": ("cat.png", picture)}, timeout=60)
                if sent.status_code == 200:
                    fields["image"] = {"path": sent.json()[0]}
            text = reply(server, **fields)
            if text and "event: complete" not in text:
                faults.append(text[-200:])

    threads = [threading.Thread(target=visitor, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    seen: list[tuple[float, float]] = []
    begun = (process.num_fds(), process.num_threads())
    while any(thread.is_alive() for thread in threads):
        seen.append((time.monotonic() / 60, memory(server)))
        time.sleep(min(5.0, SOAK_SECONDS / 20))
    assert faults == []
    late = seen[len(seen) // 2 :]
    slope = float(np.polyfit(*zip(*late, strict=True), 1)[0])
    print(f"{memory(server):.0f} MB, {slope:+.2f} MB/min in the second half")
    assert slope <= 1.0 or SOAK_SECONDS < 600
    eventually(lambda: abs(process.num_fds() - begun[0]) <= 5)
    eventually(lambda: abs(process.num_threads() - begun[1]) <= 40)  # gradio keeps its own pool


def memory(server: Served) -> float:
    return psutil.Process(server.process.pid).memory_info().rss / 2**20


def eventually(done: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)
