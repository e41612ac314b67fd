"""How fast the page is there, for a person who keeps it open: in Chromium, through Playwright.

A browser that has been here before loads it again; a chat of forty turns comes back whole; and
somebody who has a thousand chats waits no longer than somebody who has one.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demo.bench.app_process import program, wait_for_page, wait_until_ready
from demo.bench.report import Bar, BenchReport, Figure
from demo.chat.chat_file import FILE, write_chat
from demo.chat.conversation import Conversation, ReplyStats, Turn
from demo.chat.kept import CHATS_AN_OWNER, LISTED
from demo.vision.image import Picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

MEGABYTE = 1_000_000
PATIENCE = 60_000.0  # milliseconds
TURNS, PICTURES = 40, 4  # of the chat that is loaded again
STATS = ReplyStats("none", False, 60, 80, 0.1, 90.0, "end")
REPLY = (
    "Water **evaporates** from the sea, rises and cools. Then:\n\n"
    "1. small drops form a cloud,\n2. they grow, and\n3. they fall as rain.\n\n"
    "```python\nrain = cloud.drops()\n```\n\nThat was answer {number}."
)
WITHOUT_PLAYWRIGHT = (
    "This benchmark drives a browser: pip install playwright, then either playwright install "
    "chromium or the system's own package chromium."
)
WITHOUT_CHROMIUM = (
    "There is no Chromium to drive: playwright install chromium, or install the system's own "
    "package chromium."
)


@dataclass(frozen=True)
class Loaded:
    """One load of the page: seconds until what was waited for, bytes that came over the wire."""

    seconds: float
    bytes: int


def add_page_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench page`."""
    parser.add_argument("--runs", type=int, default=7, help="loads of each kind, in turn")
    parser.add_argument("--chats", type=int, default=1_000, help="kept chats of one visitor")


def run_page(args: argparse.Namespace) -> BenchReport:
    """Measure loads of the page of `python app.py`, in Chromium without a window."""
    if args.runs < 1 or not 1 <= args.chats <= CHATS_AN_OWNER:
        raise SystemExit(f"Please use --runs from 1 and --chats from 1 to {CHATS_AN_OWNER:,}.")
    with chromium() as browser, tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "chats"
        places = ("--chats", str(folder), "--runs", str(Path(room) / "runs"))
        with program(*places) as (process, url):
            wait_for_page(process, url)
            wait_until_ready(url)
            return measured(browser, url, folder, args.runs, args.chats)


def measured(browser: "Browser", url: str, folder: Path, runs: int, chats: int) -> BenchReport:
    """Measure the loads of two visitors in turn, one with few chats and one with many."""
    first = [first_load(browser, url) for _ in range(min(runs, 3))]
    few, many = visitor(browser, url), visitor(browser, url)
    owners = [owner_of_the_newest(page, folder) for page in (few, many)]
    long = keep(folder / owners[0], conversation(TURNS, PICTURES), 0)
    for number in range(chats - 1):
        keep(folder / owners[1], conversation(1, 0), number)
    warm, one, thousand, again = [], [], [], []
    for _ in range(runs + 1):
        warm.append(load(few, url, BOX))
        one.append(load(few, url, LISTED_CHATS % 2))
        thousand.append(load(many, url, LISTED_CHATS % min(chats, LISTED)))
        again.append(load(few, f"{url}?chat={long}", WHOLE % (TURNS, TURNS, PICTURES)))
        missing = what_is_missing(few)
    load_average = os.getloadavg()[0]
    pairs = zip(one[1:], thousand[1:], strict=True)
    slower = statistics.median(b.seconds - a.seconds for a, b in pairs)
    note = f"Chromium {browser.version}; load {load_average:.1f}"
    rows = [
        seconds("first visit, to the message box", first, note),
        Figure("  transferred", "MB", tuple(each.bytes / MEGABYTE for each in first)),
        seconds("another visit, to the message box", warm[1:]),
        Figure("  transferred", "MB", tuple(each.bytes / MEGABYTE for each in warm[1:])),
        seconds(f"a chat of {TURNS} turns, whole", again[1:], f"{PICTURES} pictures in it"),
        seconds("the list of 2 chats", one[1:]),
        seconds(f"  of {chats:,}, the {min(chats, LISTED)} newest of them", thousand[1:]),
    ]
    bars = [
        Bar("another visit, to the message box, s", rows[2].median, most=1.5),
        Bar("another visit, MB transferred", rows[3].median, most=0.8),
        Bar(f"a chat of {TURNS} turns, s", rows[4].median, most=2),
        Bar("turns and pictures missing in it", missing, most=0),
        Bar(f"{chats:,} kept chats, s slower", slower, most=0.2),
    ]
    return BenchReport("page", rows, bars)


def seconds(name: str, loads: list[Loaded], note: str = "") -> Figure:
    """Make the row of how long some loads took."""
    return Figure(name, "s", tuple(each.seconds for each in loads), note)


@contextmanager
def chromium() -> "Iterator[Browser]":
    """Start Chromium, of the system or Playwright's; end it afterwards.

    Raises:
        SystemExit: there is no Playwright, or no Chromium.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise SystemExit(WITHOUT_PLAYWRIGHT) from None
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error:
            raise SystemExit(WITHOUT_CHROMIUM) from None
        try:
            yield browser
        finally:
            browser.close()


# What is waited for, as the page itself sees it.
BOX = """() => document.querySelector("#box textarea")?.checkVisibility()"""
LISTED_CHATS = """() => document.querySelectorAll("#chats-list li").length === %d
    && document.querySelector("#box textarea")?.checkVisibility()"""
IMAGES = "#conversation .user-row .component img"
COUNTED = f"""[
    document.querySelectorAll("#conversation .user-row .message:not(.component)").length,
    document.querySelectorAll("#conversation .facts").length,
    document.querySelectorAll("{IMAGES}").length,
]"""
# Pictures far above what is seen are fetched when somebody scrolls there.
DRAWN = f"""async () => {{
    const images = [...document.querySelectorAll("{IMAGES}")];
    for (const image of images) {{
        image.scrollIntoView();
        await image.decode().catch(() => null);
    }}
    return images.filter((image) => image.naturalWidth).length;
}}"""
WHOLE = f"""() => String({COUNTED}) === "%d,%d,%d" """
TOLD = """() => document.querySelector("#conversation").innerText"""


def visitor(browser: "Browser", url: str) -> "Page":
    """Open the page as somebody new, who asks one short question and so has a chat."""
    page = new_page(browser.new_context(viewport={"width": 1280, "height": 800}))
    load(page, url, BOX)
    page.locator("#box textarea").fill("Say the word windmill.")
    page.locator("#box textarea").press("Enter")
    page.locator("#conversation .facts").wait_for(timeout=PATIENCE)
    page.locator("#chats-list li").wait_for(timeout=PATIENCE)
    return page


def new_page(context: "BrowserContext") -> "Page":
    """Open a tab that is waited for long enough."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    return page


def owner_of_the_newest(page: "Page", folder: Path) -> str:
    """Find the folder of the visitor whose page it is, by the chat in its address."""
    chat = page.url.partition("chat=")[2][:12]
    (place,) = folder.glob(f"*/{chat}")
    return place.parent.name


def first_load(browser: "Browser", url: str) -> Loaded:
    """Load the page in a browser that has nothing of it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        return load(new_page(context), url, BOX)
    finally:
        context.close()


def load(page: "Page", url: str, there: str) -> Loaded:
    """Load a page until `there` is true in it; bytes are counted until nothing more comes."""
    session = page.context.new_cdp_session(page)
    came: list[float] = []

    def finished(event: dict[str, Any]) -> None:
        came.append(event["encodedDataLength"])

    session.on("Network.loadingFinished", finished)
    session.send("Network.enable")
    # Elsewhere first: to the same address, a browser would only scroll.
    page.goto("about:blank")
    came.clear()
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_function(there, polling="raf")
    took = time.perf_counter() - begun
    page.wait_for_timeout(1_000)  # the bytes that came later are of this load too
    session.detach()
    return Loaded(took, round(sum(came)))


def what_is_missing(page: "Page") -> int:
    """Count the turns and pictures that are not on the page, or not as they were said."""
    asked, answered, _ = page.evaluate(f"() => {COUNTED}")
    told, pictures = page.evaluate(TOLD), page.evaluate(DRAWN)
    unsaid = sum(f"That was answer {number}." not in told for number in range(1, TURNS + 1))
    return abs(TURNS - asked) + abs(TURNS - answered) + abs(PICTURES - pictures) + unsaid


def conversation(turns: int, pictures: int) -> Conversation:
    """Make a conversation of so many turns, the first of which have a picture of their own."""
    made, noise = Conversation(), np.random.default_rng(0)
    said = []
    for number in range(1, turns + 1):
        picture = None
        if number <= pictures:
            picture = Picture(noise.integers(0, 256, (480, 640, 3), np.uint8))
        asked = f"Question {number}: why does it rain, and what is $x$?"
        said.append(Turn(asked, picture, REPLY.format(number=number), STATS, number=number))
    made.restore(tuple(said), (), dropped=0, unseen=0)
    return made


def keep(folder: Path, made: Conversation, number: int) -> str:
    """Write a conversation as a chat of this visitor; return its name."""
    chat = f"{len(made.turns):04x}{number:08x}"
    made.title = f"Kept chat {number} of {len(made.turns)}"
    write_chat(folder / chat / FILE, made, {})
    return chat
