"""Pictures of the real page: `python -m tests.browser.screenshots FOLDER [--readme FILE]`.

Desk and phone, by day and by night, empty and in a conversation, as PNG files in FOLDER; with
--readme also the one that README shows.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser.chat import Chat
from tests.browser.conftest import QUIET, SAMPLES
from tests.serving import shared

DEVICES = {
    "desk": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}


def shoot(browser: Browser, url: str, folder: Path, device: str, scheme: str) -> Path:
    """Take the page empty and in a conversation; return the file of the latter."""
    context = browser.new_context(**DEVICES[device], color_scheme=scheme)
    chat = Chat(context.new_page(), url)
    chat.page.wait_for_timeout(1000)
    chat.page.screenshot(path=folder / f"{device}-{scheme}-empty.png")
    chat.attach(SAMPLES / "house.png")
    chat.ask("What is this?")
    chat.answered(1)
    chat.ask("Is it a building?")
    chat.answered(2)
    chat.page.wait_for_timeout(1000)
    path = folder / f"{device}-{scheme}-chat.png"
    chat.page.screenshot(path=path)
    context.close()
    return path


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", type=Path, help="where to put README's picture as well")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    url = shared().url
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        shots = {
            (device, scheme): shoot(browser, url, options.folder, device, scheme)
            for device in DEVICES
            for scheme in ("light", "dark")
        }
        browser.close()
    if options.readme:
        shutil.copyfile(shots["desk", "light"], options.readme)


if __name__ == "__main__":
    main()
