"""Pictures of the real page: `python -m tests.browser.screenshots FOLDER [--readme FILE] [--docs]`.

Desk and phone, by day and by night, in both languages: empty, in a conversation, and the other
tabs, as PNG files in FOLDER. With --readme also the one that README shows; with --docs also those
of `docs/page.md`, small. Chinese needs a font that has it, such as `fonts-wqy-microhei`.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from demo.settings import ROOT
from tests.browser.chat import Chat
from tests.browser.conftest import QUIET, SAMPLES
from tests.browser.test_accessibility import TABS
from tests.browser.test_look import SETTLED
from tests.serving import shared

DEVICES = {
    "desk": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
LOCALES = {"en": "en-US", "zh": "zh-CN"}
SHOWN = (
    "en-desk-light-chat", "en-desk-dark-teach", "en-phone-light-chat", "en-phone-dark-empty",
    "zh-desk-light-chat", "zh-desk-dark-about", "zh-phone-light-teach", "zh-phone-dark-chat",
)  # fmt: skip
DOCS = ROOT / "docs" / "screenshots"


def states(chat: Chat, language: str) -> Iterator[str]:
    """Bring the page into what is shown, and name it."""
    page = chat.page
    yield "empty"
    chat.attach(SAMPLES / "house.png")
    chat.ask("What is this?")
    chat.answered(1)
    chat.ask("Is it a building?")
    chat.answered(2)
    yield "chat"
    library, teach, about = TABS[language]
    page.get_by_role("tab", name=teach).click()
    page.locator("#sample-pirate").click()
    expect(page.locator("#report .tile").first).to_be_visible(timeout=60_000)
    page.evaluate("scrollTo(0, 0)")
    yield "teach"
    page.get_by_role("tab", name=library).click()
    expect(page.locator(".adapter-card").first).to_be_visible()
    yield "library"
    page.get_by_role("tab", name=about).click()
    expect(page.locator("#about .pictures svg")).to_have_count(3)
    yield "about"


def shoot(browser: Browser, url: str, folder: Path, language: str, device: str, scheme: str) -> str:
    """Take the page in all states; return how the names of the files begin."""
    context = browser.new_context(**DEVICES[device], color_scheme=scheme, locale=LOCALES[language])
    chat = Chat(context.new_page(), url)
    begin = f"{language}-{device}-{scheme}"
    for state in states(chat, language):
        chat.page.evaluate(SETTLED)
        chat.page.wait_for_timeout(1000)
        chat.page.screenshot(path=folder / f"{begin}-{state}.png")
    context.close()
    return begin


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", type=Path, help="where to put README's picture as well")
    parser.add_argument("--docs", action="store_true", help="put those of docs/page.md there too")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    wanted = sorted({name.rpartition("-")[0] for name in SHOWN})
    url = shared().url
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        for begin in wanted:
            shoot(browser, url, options.folder, *begin.split("-"))
        browser.close()
    if options.readme:
        shutil.copyfile(options.folder / "en-desk-light-chat.png", options.readme)
    if options.docs:
        DOCS.mkdir(exist_ok=True)
        for name in SHOWN:
            with Image.open(options.folder / f"{name}.png") as picture:
                picture.save(DOCS / f"{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
