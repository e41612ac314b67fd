"""Calls that nobody listens to, and what streams hear when the program ends."""

import asyncio
import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.routes import App

from demo.ui import streams
from demo.ui.door import DoorRules
from demo.ui.server import guarded
from demo.ui.strings import ENGLISH

API = "/gradio_api"


@pytest.fixture
def ended() -> list[str]:
    return []


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: list[str]) -> gr.Blocks:
    """A page whose `count` goes on for a long time, until somebody ends it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.05)

    def count(name: str) -> Any:
        try:
            for n in range(10_000):
                time.sleep(0.02)
                if "stop" in ended:
                    return
                yield str(n)
        finally:
            ended.append(name)

    with gr.Blocks() as blocks:
        gr.api(count, api_name="count", concurrency_limit=2)
    blocks.max_file_size = None
    blocks.queue(api_open=False)
    return blocks


def talk(page: gr.Blocks, said: Any) -> Any:
    async def run() -> Any:
        app = App.create_app(page, app_kwargs={"lifespan": guarded(DoorRules())})
        app.middleware_stack = app.build_middleware_stack()
        page.app, page.is_running = app, True
        async with app.router.lifespan_context(app):
            page._queue.start()
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://a.test") as client:
                try:
                    return await said(client)
                finally:
                    page._queue.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()


async def until(done: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    await asyncio.sleep(0.02)
    while not done():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


@pytest.mark.matrix("D5", "M4")
def test_a_call_that_nobody_listens_to_is_dropped(
    page: gr.Blocks, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "UNHEARD_SECONDS", math.inf)

    async def said(client: httpx.AsyncClient) -> None:
        for n in range(5):
            await client.post(f"{API}/call/count", json={"data": [f"unheard {n}"]})
        await until(lambda: len(page._queue) == 3)  # two run
        monkeypatch.setattr(streams, "UNHEARD_SECONDS", 0.0)
        await until(lambda: len(ended) == 2 and not any(page._queue.active_jobs))
        assert len(page._queue) == 0
        assert not page._queue.pending_messages_per_session

    talk(page, said)
    assert sorted(ended) == ["unheard 0", "unheard 1"]


@pytest.mark.matrix("D5", "M4")
def test_who_asks_too_late_for_a_call_is_told_so(
    page: gr.Blocks, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "UNHEARD_SECONDS", 0.0)

    async def said(client: httpx.AsyncClient) -> list[str]:
        call = (await client.post(f"{API}/call/count", json={"data": ["late"]})).json()["event_id"]
        await until(lambda: ended == ["late"] and not any(page._queue.active_jobs))
        paths = (f"{API}/call/count/{call}", f"{API}/call/v2/count/never-made")
        return [(await client.get(path)).text for path in paths]

    assert talk(page, said) == [f'event: error\ndata: "{ENGLISH.call_gone}"\n\n'] * 2


@pytest.mark.matrix("D5", "M4")
def test_who_asks_while_a_call_is_dropped_is_told_so(
    page: gr.Blocks, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "UNHEARD_SECONDS", math.inf)

    async def said(client: httpx.AsyncClient) -> str:
        call = (await client.post(f"{API}/call/count", json={"data": ["late"]})).json()["event_id"]
        queue = page._queue
        async with queue.delete_lock:  # what dropping has to wait for
            dropping = asyncio.create_task(streams.drop(queue, queue.event_ids_to_events[call]))
            await asyncio.sleep(0)
            told = (await client.get(f"{API}/call/count/{call}", timeout=60)).text
        await dropping
        return told

    assert ENGLISH.call_gone in talk(page, said)


@pytest.mark.matrix("D3", "D4")
def test_a_call_whose_listener_has_left_is_dropped_before_others(
    page: gr.Blocks, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "UNHEARD_SECONDS", math.inf)
    monkeypatch.setattr(streams, "LEFT_SECONDS", 0.1)

    async def said(client: httpx.AsyncClient) -> None:
        events = [
            (await client.post(f"{API}/call/count", json={"data": [name]})).json()["event_id"]
            for name in ("left", "never heard")
        ]
        heard = asyncio.create_task(client.get(f"{API}/call/count/{events[0]}", timeout=60))
        listeners = page.app.middleware_stack._app
        await until(lambda: listeners._heard[events[0]] and any(page._queue.active_jobs))
        await asyncio.sleep(0.5)  # ten looks, while somebody listens
        assert not ended
        heard.cancel()
        await until(lambda: ended == ["left"])
        ended.append("stop")

    talk(page, said)


@pytest.mark.matrix("C12", "M4")
@pytest.mark.parametrize("session", ["none", ""])
def test_who_listens_for_a_session_that_is_not_there_is_told_so(
    page: gr.Blocks, caplog: pytest.LogCaptureFixture, session: str
) -> None:
    async def said(client: httpx.AsyncClient) -> str:
        return (await client.get(f"{API}/queue/data?session_hash={session}")).text

    data = json.loads(talk(page, said).removeprefix("data: "))
    assert data["msg"] == "unexpected_error" and data["session_not_found"]
    assert data["message"] == ENGLISH.call_gone
    assert not caplog.records  # each was a page of traceback


async def join(client: httpx.AsyncClient, page: gr.Blocks, session: str) -> httpx.Response:
    body = {"data": [session], "session_hash": session, "fn_index": next(iter(page.fns))}
    return await client.post(f"{API}/queue/join", json=body)


async def answer(client: httpx.AsyncClient) -> str:
    asked = await client.post(f"{API}/call/count", json={"data": ["after"]})
    return (await client.get(f"{API}/call/count/{asked.json()['event_id']}", timeout=60)).text


@pytest.mark.matrix("C12", "M4")
@pytest.mark.parametrize("name", ["", "a b", "x" * 101, "a<gradio-sep>b"])
def test_a_session_that_has_no_right_name_is_refused(
    page: gr.Blocks, ended: list[str], name: str
) -> None:
    """Some nameless calls in a row ended the queue for everybody."""

    async def said(client: httpx.AsyncClient) -> str:
        for _ in range(4):
            refused = await join(client, page, name)
            assert (refused.status_code, refused.text) == (400, ENGLISH.no_such_call)
        assert not page._queue.event_ids_to_events
        ended.append("stop")
        return await answer(client)

    assert "event: complete" in talk(page, said)


@pytest.mark.matrix("C12", "M4")
def test_a_session_that_is_gone_does_not_stop_the_queue(
    page: gr.Blocks, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "UNHEARD_SECONDS", math.inf)

    async def said(client: httpx.AsyncClient) -> str:
        for n in range(4):  # two that run, and two that wait
            assert (await join(client, page, f"s{n}")).status_code == 200
        await until(lambda: sum(map(bool, page._queue.active_jobs)) == 2)
        del page._queue.pending_messages_per_session["s3"]  # as gradio does when a page is closed
        ended.append("stop")
        return await answer(client)

    assert "event: complete" in talk(page, said)


@pytest.mark.matrix("D16", "M4")
def test_streams_have_a_last_word(
    page: gr.Blocks, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ENDING_SECONDS", 0.1)
    monkeypatch.setattr(streams, "UNHEARD_SECONDS", math.inf)

    async def said(client: httpx.AsyncClient) -> str:
        event = (await client.post(f"{API}/call/count", json={"data": ["heard"]})).json()
        path = f"{API}/call/count/{event['event_id']}"
        heard = asyncio.create_task(client.get(path, timeout=60))
        listeners = page.app.middleware_stack._app
        await until(lambda: listeners._heard[event["event_id"]] and any(page._queue.active_jobs))
        monkeypatch.setattr(streams, "UNHEARD_SECONDS", 0.0)
        await asyncio.sleep(0.6)  # twelve looks at who listens
        assert any(page._queue.active_jobs) and not ended
        leave = threading.Thread(target=streams.part, args=(page, "We are closing."))
        leave.start()
        await until(lambda: not leave.is_alive())
        ended.append("stop")
        return (await heard).text

    heard = talk(page, said)
    assert 'event: error\ndata: "We are closing."' in heard
