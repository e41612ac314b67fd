"""What the page looks like on a desk, on a phone, by day and by night."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat import Chat

pytestmark = pytest.mark.page

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("device", ["desk", "phone"])
def test_page_fits_by_day_and_by_night(
    visit: Callable[..., Chat], tmp_path: Path, device: str
) -> None:
    schemes = ("dark", "light") if device == "phone" else ("light", "dark")
    chat = visit(color_scheme=schemes[0], **(PHONE if device == "phone" else {}))
    for filled in (False, True):
        if filled:
            chat.ask("What is the capital of France?")
            chat.answered(1)
        else:
            expect(chat.page.locator("#conversation .example")).to_have_count(9)
        for scheme in schemes:
            chat.page.emulate_media(color_scheme=scheme)
            expect(chat.page.locator("body.dark")).to_have_count(int(scheme == "dark"))
            chat.page.screenshot(path=tmp_path / f"{device}-{scheme}-{filled}.png")
            assert_fits(chat.page, dark=scheme == "dark")


def assert_fits(page: Page, *, dark: bool) -> None:
    """Nothing lies beside the window, the field to type in is in it, and the ground is dark."""
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#composer").bounding_box()
    assert box["y"] + box["height"] <= height
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.strip("rgb()").split(",")[:3])) < 200) == dark


SMALL = """() => {
    const pressed = "button, a[href], input, textarea, summary, [role=tab], [role=option]";
    const labels = ", label:has(input:is([type=radio], [type=checkbox]))";
    const small = [];
    for (const element of document.querySelectorAll(pressed + labels)) {
        const { width, height, left, right } = element.getBoundingClientRect();
        if (element.closest("[inert], [aria-hidden=true]") || width < 8 || height < 8) continue;
        if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (["file", "radio", "checkbox"].includes(element.type)) continue;
        const name = element.ariaLabel || element.innerText || element.placeholder || element.id;
        if (Math.min(width, height) < 44) small.push(`${name} is ${width} x ${height}`);
        if (left < 0 || right > innerWidth) small.push(`${name} is from ${left} to ${right}`);
        if (!name.trim()) small.push(`without a name: ${element.outerHTML.slice(0, 120)}`);
    }
    return small;
}"""


@pytest.mark.parametrize("width", [390, 320])
def test_phone_can_be_typed_and_touched_on(visit: Callable[..., Chat], width: int) -> None:
    chat = visit(viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
    page = chat.page

    def fits(what: str) -> None:
        page.evaluate(SETTLED)
        assert page.evaluate(SMALL) == [], what
        assert page.evaluate("document.documentElement.scrollWidth") == width, what

    size = chat.box.evaluate("(box) => parseFloat(getComputedStyle(box).fontSize)")
    assert size >= 16  # below, a phone zooms in
    expect(page.get_by_role("heading", name="What shall we look at?")).to_be_in_viewport(ratio=1)
    fits("empty")
    chat.ask("What is the capital of France?")
    chat.answered(1)
    fits("chat")
    note, line = (
        page.locator(".small-base").bounding_box(),
        page.locator("#composer").bounding_box(),
    )
    assert note["width"] > 0.9 * line["width"]
    assert line["x"] >= 8
    page.locator("#chats-toggle").click()
    expect(page.locator("#chats-list li")).to_have_count(1)
    row, bin_icon = page.locator("#chats-list li"), page.locator("#chats-list .delete")
    ends = [box["x"] + box["width"] for box in (row.bounding_box(), bin_icon.bounding_box())]
    assert ends[0] - ends[1] >= 4
    fits("list of chats")
    bin_icon.click()
    fits("asked whether to delete")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("System prompt")).to_be_in_viewport()
    fits("settings")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Library").click()
    page.locator(".adapter-card").first.click()
    expect(page.locator("#library-detail")).to_be_visible()
    fits("library")
    page.get_by_role("tab", name="Teach").click()
    page.get_by_role("button", name="Which formats are understood?").click()
    page.locator("#sources").get_by_role("tab", name="Type").click()
    expect(page.locator("#use-rows")).to_be_visible()
    fits("teach")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_picker_has_one_line_for_each_adapter(visit: Callable[..., Chat], width: int) -> None:
    page = visit(viewport={"width": width, "height": 800}).page
    page.get_by_label("Adapter", exact=True).click()
    expect(page.get_by_role("option", name="shapes")).to_be_visible()
    for option in page.locator("#adapter [role=option]").all():
        box = option.bounding_box()
        assert box["height"] == 44
        assert box["width"] >= 190
        assert box["x"] + box["width"] <= width


def test_the_switch_wins_over_the_system_and_is_remembered(visit: Callable[..., Chat]) -> None:
    chat = visit(color_scheme="light")
    chat.page.get_by_role("button", name="Switch between light and dark").click()
    expect(chat.page.locator("body.dark")).to_be_attached()
    chat.page.reload()
    expect(chat.page.locator("body.dark")).to_be_attached()


def test_settings_open_and_close(chat: Chat) -> None:
    chat.page.get_by_role("button", name="Settings").click()
    expect(chat.page.get_by_label("System prompt")).to_be_in_viewport()
    chat.page.get_by_role("button", name="Toggle Sidebar").click()
    expect(chat.page.get_by_label("System prompt")).not_to_be_in_viewport()


COVERED = """() => {
    const inside = (x, y, box) => x > box.left && x < box.right && y > box.top && y < box.bottom;
    const clipped = (element, x, y) => {
        for (let on = element.parentElement; on; on = on.parentElement) {
            const clips = getComputedStyle(on).overflow !== "visible";
            if (clips && !inside(x, y, on.getBoundingClientRect())) return true;
        }
        return false;
    };
    const seen = [], covered = [];
    for (const element of document.querySelectorAll("button, a[href], input, textarea")) {
        const visible = {opacityProperty: true, visibilityProperty: true};
        const {left, top, width, height} = element.getBoundingClientRect();
        const [x, y] = [left + width / 2, top + height / 2];
        if (element.closest("[inert], [aria-hidden=true]")) continue;
        if (!element.checkVisibility(visible)) continue;
        if (element.type === "file" || width < 8 || clipped(element, x, y)) continue;
        const at = document.elementFromPoint(x, y);
        const name = element.ariaLabel || element.innerText || element.placeholder || element.id;
        seen.push(name.trim());
        if (!element.contains(at) && !at?.closest("label")?.contains(element)) {
            covered.push(`${name} at ${x}, ${y} lies below ${at?.outerHTML.slice(0, 120)}`);
        }
    }
    return [seen, covered];
}"""
SETTLED = """() => Promise.allSettled(
    document.getAnimations()
        .filter((one) => one.effect.getComputedTiming().iterations < Infinity)
        .map((one) => one.finished)
)"""
LOADING = """() => {
    const pill = document.querySelector("#status .pill");
    pill.classList.remove("ready");
    pill.querySelector(".state").textContent =
        "Preparing the kernel (it is compiled once, on the first start)";
}"""


def assert_nothing_covered(page: Page, *names: str) -> None:
    """A press on the middle of whatever can be pressed hits it; `names` are among that."""
    # Gradio's own sign lies over the page until it has loaded, and no longer.
    expect(page.locator("[data-testid=status-tracker].translucent:visible")).to_have_count(0)
    page.evaluate(SETTLED)
    seen, covered = page.evaluate(COVERED)
    assert not covered
    assert set(names) <= set(seen), seen


@pytest.mark.parametrize("width", [390, 768, 1000, 1280, 1920])
def test_nothing_lies_over_what_can_be_pressed(visit: Callable[..., Chat], width: int) -> None:
    chat = visit(viewport={"width": width, "height": 844})
    page = chat.page
    expect(page.locator("#conversation .example")).to_have_count(9)
    page.evaluate(LOADING)
    assert_nothing_covered(page, "Chat", "Teach", "Library", "Submit")
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("System prompt")).to_be_in_viewport()
    below = ["Library", "Submit", "Settings", "What is this?"] if width > 1080 else []
    assert_nothing_covered(page, "Toggle Sidebar", *below)
    if width <= 1080:
        page.keyboard.press("Escape")
        expect(page.get_by_label("System prompt")).not_to_be_in_viewport()
        page.get_by_role("button", name="Show or hide your chats").click()
        assert_nothing_covered(page, "New chat", "Search your chats")
        page.mouse.click(width - 10, 400)
    for name in ("Teach", "Library"):
        page.get_by_role("tab", name=name).click()
        expect(page.locator(f"#{name.lower()}")).to_be_visible()
        assert_nothing_covered(page, "Chat", "Teach", "Library")
    if width > 900:
        page.goto(page.url.split("?")[0].split("#")[0] + "zh")
        expect(page.get_by_role("tab", name="训练")).to_be_visible()
        page.evaluate(LOADING)
        assert_nothing_covered(page, "对话", "训练")
