"""What is refused before gradio sees it, with gradio's own upload behind it."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.routes import App

from demo.settings import Settings
from demo.ui import limits
from demo.ui.limits import BodyLimit, UploadLimit
from demo.ui.server import launch_options

Talk = Callable[[httpx.AsyncClient], Awaitable[Any]]
UPLOAD, RUN = "/gradio_api/upload", "/gradio_api/run/upload"


def talk(app: Any, said: Talk) -> Any:
    """What `said` returns, spoken to `app` in a thread: browser tests leave a loop running here."""

    async def run() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://a.test") as client:
            return await said(client)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gradio, as the page is served, with its uploads in `tmp_path`."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks() as blocks:
        gr.Markdown()
    blocks.max_file_size = None  # as `launch` sets it
    inner = App.create_app(blocks)
    return BodyLimit(UploadLimit(inner, tmp_path))


async def send(client: httpx.AsyncClient, *contents: bytes) -> httpx.Response:
    files = [("files", (f"{n}.txt", content)) for n, content in enumerate(contents)]
    return await client.post(UPLOAD, files=files)


@pytest.mark.matrix("H7")
def test_visitors_who_send_the_same_file_get_a_copy_each(app: Any, tmp_path: Path) -> None:
    async def said(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(send(client, b"same", b"same") for _ in range(8)))

    answers = talk(app, said)
    paths = [Path(path) for answer in answers for path in answer.json()]
    assert len(set(paths)) == 16 and all(path.read_bytes() == b"same" for path in paths)
    assert {path.parent.parent for path in paths} == {tmp_path}
    assert {path.parent for path in paths} == set(tmp_path.iterdir())


@pytest.mark.matrix("C4")
def test_a_request_brings_no_more_than_four_files(app: Any) -> None:
    async def said(client: httpx.AsyncClient) -> list[int]:
        return [(await send(client, *[b"x"] * n)).status_code for n in (4, 5, 1000)]

    assert talk(app, said) == [200, 413, 413]


@pytest.mark.matrix("C3", "H4")
def test_an_upload_brings_no_long_field(app: Any) -> None:
    async def said(client: httpx.AsyncClient) -> list[int]:
        forms = [{"a": (None, b"x" * 60_000)}, {"a": (None, b"x" * 64_001)}]
        forms += [{f"{n}": (None, b"x" * 1_000) for n in range(65)}]
        return [(await client.post(UPLOAD, files=form)).status_code for form in forms]

    assert talk(app, said) == [200, 413, 413]


@pytest.mark.matrix("C6", "H9")
def test_a_visitor_has_a_share_that_used_files_do_not_count_in(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FILES_A_VISITOR", 3)

    async def said(client: httpx.AsyncClient) -> list[int]:
        answers = [await send(client, b"%d" % n) for n in range(4)]
        os.unlink(answers[0].json()[0])  # as one that was opened
        answers += [await send(client, b"more"), await send(client, b"too many")]
        return [answer.status_code for answer in answers]

    assert talk(app, said) == [200, 200, 200, 429, 200, 429]


@pytest.mark.parametrize(
    ("bound", "code"), [("BYTES_A_VISITOR", 429), ("BYTES_OF_ALL", 507), ("FILES_OF_ALL", 507)]
)
@pytest.mark.matrix("C6")
def test_bytes_and_files_are_bounded_while_they_come(
    app: Any, monkeypatch: pytest.MonkeyPatch, bound: str, code: int
) -> None:
    monkeypatch.setattr(limits, bound, 2 if bound.startswith("FILES") else 2_000)

    async def said(client: httpx.AsyncClient) -> list[int]:
        return [(await send(client, bytes(n))).status_code for n in (300, 400, 1_900)]

    assert talk(app, said) == [200, 200, code]


@pytest.mark.matrix("H1")
def test_many_files_do_not_slow_an_upload(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No upload looks through the folder, which with 20,000 files held everybody up a second."""
    looked: list[object] = []
    for name in ("scandir", "listdir"):
        real = getattr(os, name)

        def noted(path: Any = ".", real: Any = real) -> Any:
            if str(path) == str(tmp_path):
                looked.append(path)
            return real(path)

        monkeypatch.setattr(os, name, noted)

    async def said(client: httpx.AsyncClient) -> list[int]:
        return [(await send(client, b"%d" % n)).status_code for n in range(10)]

    assert talk(app, said) == [200] * 10
    assert looked == []
    assert len(list(tmp_path.iterdir())) == 10 and looked  # a look would have been noted


@pytest.mark.matrix("C4")
def test_a_damaged_upload_is_refused(app: Any) -> None:
    async def said(client: httpx.AsyncClient) -> list[int]:
        form = {"content-type": "multipart/form-data; boundary=b"}
        bodies = [b"no form", b"--b\r\nX:" + b"a" * 100_000]
        return [
            (await client.post(UPLOAD, content=body, headers=form)).status_code for body in bodies
        ]

    assert talk(app, said) == [400, 400]


@pytest.mark.matrix("H9", "D14")
def test_a_full_disk_is_said_and_nothing_stays(tmp_path: Path) -> None:
    async def full(scope: dict, receive: Any, send: Any) -> None:
        (tmp_path / "tmp123").write_bytes(bytes(100))
        await receive()
        raise OSError(errno.ENOSPC, "No space left on device")

    async def said(client: httpx.AsyncClient) -> int:
        return (await send(client, b"x")).status_code

    assert talk(UploadLimit(full, tmp_path), said) == 507
    assert not list(tmp_path.iterdir())


def test_no_more_is_announced_than_the_disk_holds(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPARE_BYTES", 2**60)

    async def said(client: httpx.AsyncClient) -> int:
        return (await send(client, b"x")).status_code

    assert talk(app, said) == 507


@pytest.mark.matrix("C5", "D6")
def test_an_upload_that_stalls_is_given_up(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALLED_SECONDS", 0.1)

    async def slowly() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx'
        await asyncio.sleep(600)
        yield b"\r\n--b--\r\n"

    async def said(client: httpx.AsyncClient) -> None:
        form = {"content-type": "multipart/form-data; boundary=b"}
        with suppress(Exception):  # nobody is there to answer
            await client.post(UPLOAD, content=slowly(), headers=form)

    talk(app, lambda client: asyncio.wait_for(said(client), 60))


@pytest.mark.matrix("C3", "H3")
def test_a_request_that_is_too_long_is_cut_off() -> None:
    async def app(scope: dict, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % len(body)})

    async def said(client: httpx.AsyncClient) -> list[int]:
        return [
            (await client.post(path, content=b"x" * n)).status_code
            for path, n in (("/", 1000), ("/", 1001), (UPLOAD, 2000), (UPLOAD, 2001), (RUN, 1001))
        ]

    assert talk(BodyLimit(app, limit=1000, uploads=2000), said) == [200, 413, 200, 413, 413]


@pytest.mark.matrix("C1", "C12")
def test_a_handler_named_upload_moves_no_file_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of its answer, {"data": …}, were once taken for paths of files just received."""
    kept = tmp_path / "here" / "data"
    kept.mkdir(parents=True)
    monkeypatch.chdir(kept.parent)
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: "done", None, gr.Textbox(), api_name="upload", queue=False)
    blocks.max_file_size = None
    served = BodyLimit(UploadLimit(App.create_app(blocks), tmp_path / "uploads"))

    async def said(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(RUN, json={"data": []})

    answer = talk(served, said)
    assert (answer.status_code, answer.json()["data"]) == (200, ["done"])
    assert kept.is_dir() and list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.matrix("H3", "C3")
def test_a_request_of_very_many_parts_is_refused_and_a_long_one_not_even_read() -> None:
    read: list[int] = []

    async def app(scope: dict, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            read.append(len(message.get("body", b"")))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def said(client: httpx.AsyncClient) -> list[int]:
        bodies = (b"[]," * limits.BODY_PARTS, b"{" * (limits.BODY_PARTS + 1), b"x" * 5_000_000)
        return [(await client.post("/call", content=body)).status_code for body in bodies]

    assert talk(BodyLimit(app), said) == [200, 413, 413]
    assert sum(read) == 3 * limits.BODY_PARTS


def test_limits_follow_what_the_program_was_started_with(tmp_path: Path) -> None:
    options = launch_options(Settings(cache=tmp_path, runs=tmp_path, data_zip_mb=300))
    _, body, upload = (middleware.kwargs for middleware in options["app_kwargs"]["middleware"])
    assert options["max_file_size"] == upload["largest"] == 300 * 2**20
    assert body["uploads"] == 302 * 2**20
    small = launch_options(Settings(cache=tmp_path, runs=tmp_path, data_zip_mb=10, data_mb=10))
    assert small["max_file_size"] == 200 * 2**20
