"""The page for whoever hears it or has no mouse: axe-core in many states, and where the focus goes.

A few states are looked at for every change; `python -m tests.nightly` takes the whole tour, by day
and by night, on a desk and on phones, in both languages.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.chat import Chat
from tests.browser.conftest import SAMPLES
from tests.browser.test_look import SETTLED

pytestmark = pytest.mark.page

FOCUSED = """() => {
    const element = document.activeElement;
    if (!element || element === document.body) return null;
    const shown = element.closest("label, .wrap, [role=tablist]") ?? element;
    const { left, top, right, bottom } = shown.getBoundingClientRect();
    const seen = right > 0 && bottom > 0 && left < innerWidth && top < innerHeight;
    return seen ? null : element.outerHTML.slice(0, 160);
}"""
# What is seen or heard, but for what people and the model say, code, and who wrote the paper.
SAID = """() => {
    const theirs =
        ".message, .base-answer p, pre, code, .chat-list .open, #about .paper, #language";
    const shown = [...document.querySelectorAll("body *")].filter((element) =>
        element.checkVisibility({ visibilityProperty: true }) && !element.closest(theirs));
    const texts = shown.flatMap((element) => [...element.childNodes])
        .filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data.trim());
    const names = shown.flatMap((element) =>
        ["aria-label", "title", "alt", "placeholder"].map((name) => element.getAttribute(name)));
    return [...new Set([...texts, ...names])].filter(Boolean);
}"""
NAMES = "LLaMA-Adapter|Adapter Studio|Hugging Face|AMD|Intel|Processor|avx|Shift|JSON Lines"
TABS = {"en": ("Library", "Teach", "About"), "zh": ("适配器库", "训练", "关于")}


def faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical: the rule, and the first element against it."""
    page.evaluate(SETTLED)
    found: Any = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:300]} {node['failureSummary'][:300]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"][:2]
    ]


def english(page: Page) -> list[str]:
    """What is English on a page in another language: names of one word, and of things, are not."""
    return [
        text
        for text in page.evaluate(SAID)
        if re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}", re.sub(NAMES, "", text))
    ]


def tour(chat: Chat, language: str = "en", *, whole: bool = True) -> Iterator[str]:
    """Bring the page into one state after the other, and name it."""
    page = chat.page
    library, teach, about = TABS[language]
    yield "empty"
    if whole:
        page.get_by_role("heading").first.click()
        page.keyboard.press("?")
        expect(page.locator("#keys")).to_be_visible()
        yield "keys"
        page.keyboard.press("Escape")
    chat.attach(SAMPLES / "house.png")
    chat.ask("What is this?")
    expect(chat.facts).to_have_count(1, timeout=90_000)
    expect(chat.send_button).to_be_visible()
    yield "answered about a picture"
    if whole:
        page.locator(".ask-base").click()
        expect(page.locator(".base-answer")).to_be_visible(timeout=60_000)
        expect(chat.send_button).to_be_visible(timeout=60_000)
        chat.box.press("Enter")
        expect(chat.notice).to_be_visible()
        yield "the base beside it, and a notice"
    page.locator("#open-settings").click()
    expect(page.locator("#settings textarea").first).to_be_in_viewport()
    yield "settings"
    page.keyboard.press("Escape")
    page.get_by_role("tab", name=library).click()
    page.locator(".adapter-card").first.click()
    expect(page.locator("#library-detail")).to_be_visible()
    yield "library"
    page.get_by_role("tab", name=teach).click()
    page.locator("#sample-pirate").click()
    expect(page.locator("#report .tile").first).to_be_visible()
    if whole:
        for part in ("formats", "advanced"):
            page.locator(f"#{part} > button").click()
        yield "teach, all open"
        page.locator("#sources [role=tab]").last.click()
        expect(page.locator("#use-rows")).to_be_visible()
    yield "teach"
    page.get_by_role("tab", name=about).click()
    expect(page.locator("#about .pictures svg")).to_have_count(3)
    yield "about"


def test_nothing_serious_is_found(chat: Chat) -> None:
    assert {state: found for state in tour(chat, whole=False) if (found := faults(chat.page))} == {}


@pytest.mark.nightly
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_nothing_serious_is_found_anywhere(
    visit: Callable[..., Chat], width: int, scheme: str, language: str
) -> None:
    phone = {"has_touch": True, "is_mobile": True} if width < 700 else {}
    chat = visit(viewport={"width": width, "height": 844}, color_scheme=scheme, **phone)
    if language == "zh":
        chat.page.goto(chat.page.url.split("?")[0] + "zh")
        expect(chat.page.locator("#box textarea")).to_be_visible()
    found = {}
    for state in tour(chat, language):
        found[state] = faults(chat.page) + (english(chat.page) if language == "zh" else [])
    assert {state: wrong for state, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(("locale", "words"), [("de-DE", "Edit"), ("zh-CN", "编辑")])
def test_all_words_are_in_the_pages_language_in_every_browser(
    visit: Callable[..., Chat], locale: str, words: str
) -> None:
    chat = visit(locale=locale)
    chat.ask("What is the capital of France?")
    chat.answered(1)
    under = chat.page.locator("#conversation .message-buttons-left button:visible")
    expect(under).to_have_count(5)  # once under the reply, not again under its line of facts
    expect(under.nth(1)).to_have_accessible_name(words)
    if locale == "zh-CN":
        assert english(chat.page) == []


def test_the_focus_is_always_seen(chat: Chat) -> None:
    page = chat.page
    for name in ("Chat", "Teach", "Library", "About"):
        page.get_by_role("tab", name=name).click()
        for _ in range(24):
            page.keyboard.press("Tab")
            assert page.evaluate(FOCUSED) is None, name


def test_keys_do_what_the_list_of_keys_says(chat: Chat) -> None:
    page = chat.page
    page.get_by_role("heading", name="What shall we look at?").click()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    expect(page.locator("#keys")).to_contain_text("Stop the reply")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    chat.ask("Say the word windmill.")
    chat.answered(1)
    chat.box.press("ArrowUp")
    expect(chat.box).to_have_value("Say the word windmill.")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_open_list_of_adapters_closes_with_the_focus_and_with_escape(
    visit: Callable[..., Chat], width: int
) -> None:
    chat = visit(viewport={"width": width, "height": 844})
    page, picker = chat.page, chat.page.get_by_label("Adapter", exact=True)
    options = page.get_by_role("listbox")
    before = picker.input_value()
    for key, focused in (("Tab", "#camera"), ("Shift+Tab", "#box"), ("Escape", "#adapter")):
        picker.click()
        expect(options).to_be_visible()
        page.keyboard.press("ArrowDown")  # looked at, not chosen
        page.keyboard.press(key)
        expect(options).to_have_count(0)
        expect(picker).to_have_attribute("aria-expanded", "false")
        expect(picker).to_have_value(before)
        assert page.evaluate("(where) => !!document.activeElement.closest(where)", focused), key
        assert page.evaluate(FOCUSED) is None, key
