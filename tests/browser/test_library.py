"""The tab "Library" as a person uses it: every button once, with an adapter of their own."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.settings import ROOT
from tests.browser.chat import Chat
from tests.hub import small_hub
from tests.serving import READY_SECONDS, start, until

pytestmark = pytest.mark.page

SHAPES = ROOT / "checkpoints" / "adapters" / "shapes.safetensors"


def bring(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Bring an adapter").click()
    chooser.value.set_files(file)


def test_an_adapter_is_brought_used_renamed_taken_along_and_deleted(
    visit: Callable[..., Chat], tmp_path: Path
) -> None:
    chat = visit()
    page = chat.page
    page.get_by_role("tab", name="Library").click()
    library, cards = page.locator("#library"), page.locator("#library .adapter-card")
    expect(cards.filter(has_text="shapes").first).to_be_visible()
    library.get_by_label("Search").fill("no adapter is called so")
    expect(library).to_contain_text("No adapter is like that")
    library.get_by_label("Search").fill("")
    expect(cards.filter(has_text="shapes").first).to_be_visible()

    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"no adapter")
    bring(page, wrong)
    expect(page.locator("#library-message .bad")).to_be_visible()
    bring(page, SHAPES)
    expect(page.locator("#library-message")).to_contain_text(
        re.compile("“.*” is in your library"), timeout=60_000
    )

    library.get_by_label("Name").fill("old salt")
    library.get_by_label("What it is for").fill("Answers as <b>sailors</b> do.")
    library.get_by_role("button", name="Save").click()
    expect(page.locator("#library-message")).to_contain_text("Saved as “old-salt”")
    expect(cards.filter(has_text="old-salt")).to_contain_text("Answers as <b>sailors</b> do.")
    library.get_by_text("Yours", exact=True).click()
    expect(cards).to_have_count(1)
    with page.expect_download() as download:
        library.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "old-salt.safetensors"
    assert download.value.path().stat().st_size > 100_000

    library.get_by_role("button", name="Teach more").click()
    expect(page.get_by_text("examples from which “old-salt” is to learn more")).to_be_visible()
    expect(page.get_by_role("tab", name="Teach")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Library").click()

    library.get_by_role("button", name="Use in chat").click()
    expect(page.get_by_label("Adapter", exact=True)).to_have_value("old-salt")
    expect(page.locator("#adapter-note")).to_contain_text("Answers as")
    page.get_by_role("tab", name="Library").click()
    library.get_by_role("button", name="Delete", exact=True).click()
    library.get_by_role("button", name="Keep it").click()
    library.get_by_role("button", name="Delete", exact=True).click()
    library.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#library-message")).to_contain_text("“old-salt” is deleted")
    expect(cards).to_have_count(0)
    page.get_by_role("tab", name="Chat").click()
    expect(page.get_by_label("Adapter", exact=True)).to_have_value("auto")


def test_an_adapter_goes_to_the_hub_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    """On a program of its own, which takes a small server for the Hub."""
    folders = [f"--{name}={tmp_path / name}" for name in ("adapters", "runs", "chats")]
    shutil.copytree(SHAPES.parent, tmp_path / "adapters")
    with small_hub() as hub:
        served = start(*folders, environment={"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_home"})
        try:
            until(lambda: served.status()["state"] == "ready", READY_SECONDS, served)
            page = Chat(browser.new_context().new_page(), served.url).page
            page.get_by_role("tab", name="Library").click()
            library, told = page.locator("#library"), page.locator("#library-message")
            library.locator(".adapter-card").filter(has_text="shapes").first.click()
            library.get_by_role("button", name="Put it on the Hugging Face Hub").first.click()
            library.get_by_label("Its id there").fill("me/shapes")
            page.locator("#library-put-there").click()
            expect(told).to_contain_text("“shapes” is on the Hub as me/shapes.", timeout=60_000)
            assert set(hub.files["me/shapes"]) == {"adapter.safetensors", "README.md"}
            library.get_by_role("button", name="From the Hugging Face Hub").click()
            library.get_by_label("Its id on the Hub").fill("me/none")
            page.locator("#library-fetch").click()
            expect(told).to_contain_text("there is no such repository, or it is not yours")
            library.get_by_label("Its id on the Hub").fill("me/shapes")
            page.locator("#library-fetch").click()
            expect(told).to_contain_text("“shapes-2” is in your library.", timeout=60_000)
        finally:
            served.stop()
