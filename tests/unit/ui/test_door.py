"""Who may ask, and what every answer says, with gradio's own app behind it."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.routes import App
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import PROXIES
from demo.ui import door
from demo.ui.door import (
    CLOSED,
    LOCAL_NAMES,
    LOGINS_A_MINUTE,
    DoorRules,
    Window,
    security_headers,
)
from demo.ui.server import guarded
from demo.ui.strings import ENGLISH

LOCAL = DoorRules(LOCAL_NAMES)
SITE = "https://other.example"
RUN = "/gradio_api/run/double"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gr.Blocks:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks() as blocks:
        number, button = gr.Number(), gr.Button()
        kind = gr.Dropdown(["a", "b"])
        button.click(lambda n: 2 * n, number, number, api_name="double", queue=False)
        button.click(lambda k: k, kind, kind, api_name="kind", queue=False)
    blocks.max_file_size = None
    blocks.queue(api_open=False)
    return blocks


def talk(
    page: gr.Blocks,
    said: Callable[[httpx.AsyncClient], Awaitable[Any]],
    rules: DoorRules = LOCAL,
    client: str = "10.0.0.9",
    base: str = "http://localhost:7860",
) -> Any:
    """What `said` returns, spoken to the page as it is served, from the address `client`."""

    async def run() -> Any:
        app = App.create_app(page, app_kwargs={"lifespan": guarded(rules)})
        app.middleware_stack = app.build_middleware_stack()
        async with app.router.lifespan_context(app):
            proxied: Any = ProxyHeadersMiddleware(app, PROXIES)
            transport = httpx.ASGITransport(proxied, client=(client, 9))
            async with httpx.AsyncClient(transport=transport, base_url=base) as talker:
                return await said(talker)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()


def statuses(*requests: dict[str, Any]) -> Callable[[httpx.AsyncClient], Awaitable[list[int]]]:
    async def said(client: httpx.AsyncClient) -> list[int]:
        return [(await client.request(**{"method": "GET", "url": "/config"} | request)).status_code
                for request in requests]  # fmt: skip

    return said


@pytest.mark.matrix("C7", "M4")
def test_the_page_is_served_under_its_own_names_alone(page: gr.Blocks) -> None:
    names = ["localhost", "127.0.0.1:1", "[::1]:7860", "LOCALHOST", "evil.example", "a.localhost"]
    asked = statuses(*({"headers": {"host": name}} for name in names))
    assert talk(page, asked) == [200, 200, 200, 200, 421, 421]
    assert talk(page, asked, DoorRules()) == [200] * 6


@pytest.mark.parametrize("base", ["http://localhost:7860", "https://ada-studio.hf.space"])
@pytest.mark.parametrize("origin", [SITE, "null", "file://", "http://localhost.evil.example", "x"])
@pytest.mark.parametrize("url", ["/theme.css", "/config", "/gradio_api/app_id"])
@pytest.mark.matrix("C7", "M4")
def test_no_other_site_reads_an_answer(page: gr.Blocks, base: str, origin: str, url: str) -> None:
    async def said(client: httpx.AsyncClient) -> httpx.Headers:
        return (await client.get(url, headers={"origin": origin})).headers

    headers = talk(page, said, DoorRules(), base=base)
    assert not [name for name in headers if name.startswith("access-control-allow")]


@pytest.mark.matrix("C7", "M4")
def test_no_other_site_changes_anything(page: gr.Blocks) -> None:
    call = {"method": "POST", "url": RUN, "json": {"data": [2]}}
    asked = statuses(
        call,  # a program
        call | {"headers": {"origin": "http://localhost:7860"}},
        call | {"headers": {"origin": "https://public.example", "sec-fetch-site": "same-origin"}},
        call | {"headers": {"origin": "https://a.example", "x-forwarded-host": "a.example"}},
        call | {"headers": {"origin": SITE}},
        call | {"headers": {"origin": "null", "sec-fetch-site": "cross-site"}},
        {"method": "OPTIONS", "url": RUN,
         "headers": {"origin": SITE, "access-control-request-method": "POST"}},
    )  # fmt: skip
    assert talk(page, asked) == [200, 200, 200, 200, 403, 403, 403]
    assert talk(page, asked, DoorRules(origins=(SITE,)))[4] == 200


@pytest.mark.matrix("C11", "M4")
def test_an_address_asks_so_often_and_no_made_up_one_helps(page: gr.Blocks) -> None:
    call = {"method": "POST", "url": RUN, "json": {"data": [2]}}
    rules = DoorRules(calls_a_minute=5)
    asked = statuses(*(call | {"headers": {"x-forwarded-for": f"1.2.3.{n}, 8.8.8.8"}}
                       for n in range(7)), {})  # fmt: skip
    assert talk(page, asked, rules) == [200] * 5 + [429] * 2 + [200]
    assert talk(page, statuses(*[call] * 7), rules, "127.0.0.1") == [200] * 7


@pytest.mark.matrix("C11", "M4")
def test_the_page_itself_is_made_so_often(page: gr.Blocks) -> None:
    """It takes a tenth of a second, and nothing counted how often one address had it made."""
    rules, small = DoorRules(calls_a_minute=7), {"url": "/robots.txt"}
    asked = statuses({"url": "/config"}, {"url": "/config/"}, {"url": "/"}, {"url": "/zh"}, small)
    assert talk(page, asked, rules) == [200, 200, 429, 429, 200]
    assert talk(page, statuses({}, {}, {}), rules, client="127.0.0.1") == [200] * 3
    assert talk(page, statuses({}, {}), DoorRules(calls_a_minute=1)) == [200, 429]


@pytest.mark.matrix("M4")
def test_passwords_are_not_guessed(page: gr.Blocks) -> None:
    guess = {"method": "POST", "url": "/login", "data": {"username": "a", "password": "b"}}
    asked = statuses(*[guess] * (LOGINS_A_MINUTE + 2))
    assert talk(page, asked, client="127.0.0.1")[LOGINS_A_MINUTE - 1 :] == [302, 429, 429]


def test_a_minute_later_there_is_room_and_the_longest_quiet_are_forgotten() -> None:
    window = Window(2)
    assert [window.admits("a", now) for now in (0.0, 1.0, 59.0, 60.5, 60.6)] == [
        True, True, False, True, False,
    ]  # fmt: skip
    for n in range(20_000):
        window.admits(str(n), 61.0)
    assert len(window._seen) == 10_000


@pytest.mark.matrix("C2", "M4")
def test_every_answer_says_what_the_browser_may_do(page: gr.Blocks) -> None:
    async def said(client: httpx.AsyncClient) -> list[httpx.Response]:
        bad = client.post("/gradio_api/component_server", json={})
        return [await client.get("/config"), await client.get("/none"), await bad]

    answers = talk(page, said)
    assert [answer.status_code for answer in answers] == [200, 404, 400]
    for answer in answers:
        for name, value in security_headers(DoorRules()).items():
            assert answer.headers[name] == value
    assert "camera=(self)" in answers[0].headers["permissions-policy"]
    policy = answers[0].headers["content-security-policy"]
    assert (
        "frame-ancestors 'self' https://huggingface.co" in policy and "object-src 'none'" in policy
    )
    assert not re.search(r"https?://|\*", policy.split("frame-ancestors")[0])


@pytest.mark.matrix("C12", "M4")
def test_what_the_page_never_asks_is_no_fault_of_the_server(
    page: gr.Blocks, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "my words"
    post = {"method": "POST", "json": {"data": [secret], "fn_index": 999, "session_hash": "s"}}
    calls: list[dict[str, Any]] = [
        {"url": RUN, "json": {"data": [secret]}},
        {"url": RUN, "json": {"data": []}},
        {"url": "/gradio_api/run/kind", "json": {"data": [secret]}},
        {"url": "/gradio_api/run/none"},
        {"url": "/gradio_api/queue/join"},
        {"url": "/gradio_api/call/none"},
        {"url": "/gradio_api/call/v2/none"},
        {"url": "/gradio_api/cancel"},
        {"url": "/gradio_api/upload", "json": None, "files": {"upload_id": (None, secret)}},
        {"url": "/gradio_api/component_server", "json": {"data": 1, "component_id": 99,
                                                         "session_hash": "a", "fn_name": "b"}},
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        found = talk(page, statuses(*(post | call for call in calls)))
    assert all(400 <= code < 500 or code == 200 for code in found), found
    assert secret not in caplog.text


# What gradio has for the page; `{}` is where more of a path follows.
USED = """
/ /{} /config /favicon.ico /login /logout /manifest.json /openapi.json /pwa_icon /robots.txt
/theme.css /static/{} /assets/{} /svelte/{} /gradio_api/api/{} /gradio_api/app_id
/gradio_api/call/v2/{} /gradio_api/call/v2/{}/{} /gradio_api/call/{} /gradio_api/call/{}/{}
/gradio_api/cancel /gradio_api/component_server /gradio_api/file/{} /gradio_api/file={}
/gradio_api/heartbeat/{} /gradio_api/info /gradio_api/login_check /gradio_api/openapi.json
/gradio_api/queue/data /gradio_api/queue/join /gradio_api/queue/status /gradio_api/reset
/gradio_api/run/{} /gradio_api/startup-events /gradio_api/theme.css /gradio_api/token
/gradio_api/upload /gradio_api/upload_progress /gradio_api/user
"""


def routes(router: Any, prefix: str = "") -> set[str]:
    """All paths of an app, with `{}` for what a path takes."""
    found: set[str] = set()
    for route in router.routes:
        if inner := getattr(route, "original_router", None):
            found |= routes(inner, prefix)
        else:
            found.add(prefix + re.sub(r"{.*?}", "{}", route.path))
    return found


@pytest.mark.matrix("C12", "M4")
def test_what_gradio_answers_is_used_or_closed(page: gr.Blocks) -> None:
    """An endpoint that a later gradio adds is to be looked at, and put on one side."""
    paths = routes(App.create_app(page))
    open_ = {path.rstrip("/") or "/" for path in paths if not CLOSED.match(path)}
    assert open_ <= set(USED.split())
    used = [*USED.split(), "/pwa_icon/192", "/pwa_icon/512"]  # of the icons that the manifest has
    assert not [path for path in used if CLOSED.match(path)]


@pytest.mark.matrix("C12", "M4")
@pytest.mark.parametrize("root", ["", "/below", "/p"])
@pytest.mark.parametrize(
    "path",
    ["/pwa_icon/30000", "/pwa_icon/1920", "/monitoring", "/gradio_api/deep_link?session_hash=a",
     "/gradio_api/dev/reload", "/gradio_api/vibe-code", "/gradio_api/stream/a/b/1/playlist.m3u8",
     "/gradio_api/proxy=https://a.hf.space/x"],
)  # fmt: skip
def test_what_no_page_asks_for_is_closed(page: gr.Blocks, path: str, root: str) -> None:
    page.root_path = root

    async def said(client: httpx.AsyncClient) -> list[tuple[int, str]]:
        asked = [client.get(root + path), client.post(root + path), client.get(path)]
        return [(told.status_code, told.text) for told in [await one for one in asked]]

    assert talk(page, said) == [(404, ENGLISH.no_such_call)] * 3


@pytest.mark.matrix("C11", "D6")
def test_one_address_holds_so_many_requests_at_once(
    page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "OPEN_AT_ONCE", 2)

    async def said(client: httpx.AsyncClient) -> list[int]:
        def held(name: str) -> Any:
            return asyncio.create_task(client.get(f"/gradio_api/heartbeat/{name}", timeout=60))

        waiting = [held("a"), held("b")]
        await asyncio.sleep(0.2)
        told = [(await client.get("/config")).status_code]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [*told, (await client.get("/config")).status_code]

    assert talk(page, said, DoorRules()) == [429, 200]
    assert talk(page, said, client="127.0.0.1") == [200, 200]  # its owner's own machine
