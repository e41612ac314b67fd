"""A real browser on the real page. Chromium comes from Debian or from Playwright."""

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo.settings import ROOT
from tests.browser.chat import Chat
from tests.serving import Served, shared

SAMPLES = ROOT / "assets" / "samples"
expect.set_options(timeout=15_000)  # machines that test are busy
QUIET = [  # the browser itself asks nobody anything
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def server() -> Served:
    """Start the program with the embedded base, ready."""
    return shared()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, server: Served) -> Iterator[Callable[..., Chat]]:
    """`visit(**context options)` → a new visitor's chat. Strange requests and errors fail."""
    contexts, wrong = [], []

    def watch(page: Page) -> None:
        def requested(url: str) -> None:
            if not url.startswith((server.url, "data:", "blob:")):
                wrong.append(f"request to {url}")

        page.on("request", lambda request: requested(request.url))
        page.on("pageerror", lambda error: wrong.append(f"error {error}"))
        page.on(
            "console",
            lambda line: wrong.append(f"console {line.text}") if line.type == "error" else None,
        )

    def new(**options: object) -> Chat:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        watch(page)
        return Chat(page, server.url)

    yield new
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def chat(visit: Callable[..., Chat]) -> Chat:
    """Open a desktop visitor's chat."""
    return visit()
