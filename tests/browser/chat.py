"""The chat as a person uses it, in words instead of selectors."""

import base64
import mimetypes
import re
from pathlib import Path

from playwright.sync_api import Page, expect


class Chat:
    """One visitor's page."""

    def __init__(self, page: Page, url: str) -> None:
        page.goto(url)
        self.page = page
        self.box = page.locator("#box textarea")
        box = page.locator("#box")
        self.send_button = box.get_by_role("button", name=re.compile("^(Submit|发送)$"))
        self.stop_button = box.get_by_role("button", name=re.compile("^(Stop|停止)$"))
        self.questions = page.locator("#conversation .user-row .message:not(.component)")
        self.frames = page.locator("#conversation .user-row .frames img")
        self.pictures = page.locator("#conversation .user-row .component img")
        self.replies = page.locator("#conversation .bot-row:not(:has(.facts, .doubt)) .message")
        self.facts = page.locator("#conversation .facts")
        self.notice = page.locator("#notice")
        self.chip = page.locator("#picture .chip")
        expect(self.send_button).to_be_visible(timeout=60_000)  # a busy machine draws it late

    def ask(self, text: str) -> None:
        """Types and sends; does not wait for the reply."""
        self.box.fill(text)
        expect(self.box).to_have_value(text)
        self.box.press("Enter")

    def answered(self, turns: int) -> str:
        """Wait until `turns` replies are complete; return the last of them."""
        try:
            expect(self.facts).to_have_count(turns, timeout=60_000)
        except AssertionError as error:
            there = self.page.locator("#conversation").inner_text()
            raise AssertionError(f"{error}\n{there}\nbox: {self.box.input_value()!r}") from None
        expect(self.send_button).to_be_visible()
        return self.replies.last.inner_text().strip()

    def streaming(self) -> str:
        """Wait until the running reply has some words; return what there is of it."""
        expect(self.stop_button).to_be_visible()
        expect(self.replies.last.locator(".prose p").first).to_be_visible()
        return self.replies.last.inner_text().strip()

    def updates(self, seconds: float) -> float:
        """How many different texts a second the running reply shows."""
        count = self.page.evaluate(
            """(seconds) => new Promise((resolve) => {
                const log = document.querySelector("#conversation [role=log]");
                const seen = new Set();
                const watch = new MutationObserver(() => seen.add(log.textContent));
                watch.observe(log, {childList: true, characterData: true, subtree: true});
                setTimeout(() => { watch.disconnect(); resolve(seen.size); }, seconds * 1000);
            })""",
            seconds,
        )
        return count / seconds

    def prompt_tokens(self) -> int:
        """Read in the last line of facts what the prompt had."""
        tokens = self.facts.last.locator("span", has_text="tokens").first.inner_text()
        return int(re.search(r"read ([\d,]+)", tokens)[1].replace(",", ""))

    def longest_reply(self, tokens: int) -> None:
        """Set it in the settings, which stay open; a long one neither ends nor repeats before."""
        self.page.get_by_role("button", name="Settings").click()
        for name, value in (("Longest reply", tokens), ("Temperature", 2 if tokens > 500 else 0)):
            field = self.page.get_by_label(f"number input for {name}")
            field.fill(str(value))
            field.press("Tab")

    def close_settings(self) -> None:
        """They lie over the stop button."""
        self.page.get_by_role("button", name="Toggle Sidebar").click()
        expect(self.page.get_by_label("System prompt")).not_to_be_in_viewport()

    def button(self, name: str) -> None:
        """Presses the last button of this name under a message."""
        self.page.locator("#conversation").get_by_role("button", name=name).last.click()

    def edit(self, text: str) -> None:
        """Put new words in place of the last question."""
        row = self.page.locator("#conversation .message-buttons-right")
        row.get_by_role("button", name="Edit").last.click()
        self.page.locator("#conversation textarea").fill(text)
        self.button("Submit")

    def correct(self, text: str) -> None:
        """Put new words in place of the last reply."""
        row = self.page.locator("#conversation .message-buttons-left")
        row.get_by_role("button", name="Edit").locator("visible=true").last.click()
        self.page.locator("#conversation textarea").fill(text)
        self.button("Submit")

    def attach(self, file: Path) -> None:
        """Chooses a picture or a video."""
        self.page.locator("#box input[type=file]").set_input_files(file)
        self._attached(file)

    def paste(self, picture: Path) -> None:
        """Pastes a picture, as after "copy image"."""
        self._transfer("paste", "clipboardData", "ClipboardEvent", picture, "#box textarea")
        self._attached(picture)

    def drop(self, file: Path, target: str = "#conversation") -> None:
        """Drop a picture or a video somewhere on the page."""
        self._transfer("drop", "dataTransfer", "DragEvent", file, target)
        self._attached(file)

    def _attached(self, file: Path) -> None:
        picture = _type_of(file).startswith("image/")
        thumbnail = self.page.locator("#box .thumbnail-item" + (" img" if picture else ""))
        expect(thumbnail).to_be_visible()

    def _transfer(self, kind: str, field: str, event: str, file: Path, target: str) -> None:
        self.page.locator(target).evaluate(
            """(element, [kind, field, event, name, type, data]) => {
                const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name, {type}));
                element.dispatchEvent(new window[event](kind, {
                    [field]: transfer, bubbles: true, cancelable: true,
                }));
            }""",
            [
                *(kind, field, event, file.name, _type_of(file)),
                base64.b64encode(file.read_bytes()).decode(),
            ],
        )


def _type_of(file: Path) -> str:
    return mimetypes.guess_type(file)[0] or ""
