"""The column of pictures in the table of typed rows, as a person uses it."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.chat import Chat
from tests.browser.conftest import SAMPLES
from tests.browser.teach import COMPILED, Teach

pytestmark = pytest.mark.page
DROP = """(cell, files) => {
    const dataTransfer = new DataTransfer();
    for (const [name, type, data] of files) {
        const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
        dataTransfer.items.add(new File([bytes], name, { type }));
    }
    for (const kind of ["dragenter", "dragover", "drop"])
        cell.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
}"""


def cell(page: Page, row: int, column: int = 2) -> Locator:
    return page.locator(f"#teach-table [role=gridcell][data-row='{row}'][data-col='{column}']")


def write(page: Page, row: int, *texts: str) -> None:
    for column, text in enumerate(texts):
        cell(page, row, column).click()
        expect(cell(page, row, column).locator("textarea")).to_be_focused()
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        expect(cell(page, row, column)).to_contain_text(text)


def choose(page: Page, act: Callable[[], None], *names: str) -> None:
    with page.expect_file_chooser() as opened:
        act()
    opened.value.set_files([SAMPLES / name for name in names])


def drop(page: Page, row: int, *names: str | Path) -> None:
    paths = [SAMPLES / name for name in names]  # a whole path stays one
    files = [(path.name, "", base64.b64encode(path.read_bytes()).decode()) for path in paths]
    cell(page, row).evaluate(DROP, files)


def picture(page: Page, row: int) -> Locator:
    return cell(page, row).locator("img")


def test_pictures_of_rows_are_added_exchanged_removed_and_kept(visit: Callable[..., Chat]) -> None:
    chat = visit()
    page, keys = chat.page, chat.page.keyboard
    teach = Teach(page)
    teach.source("Type")
    write(page, 0, "What is this?", "a cat")
    write(page, 1, "And this?", "a house")
    choose(page, cell(page, 0).click, "house.png")
    expect(picture(page, 0)).to_be_visible()
    assert picture(page, 0).get_attribute("alt") == "house.png"
    was = picture(page, 0).get_attribute("src")
    drop(page, 1, "house.png", "car.png")  # the second has the next row
    expect(picture(page, 1)).to_be_visible()
    expect(picture(page, 2)).to_have_attribute("alt", "car.png")

    cell(page, 0).click()
    choose(page, page.get_by_role("button", name="Another picture").click, "cat.png")
    expect(picture(page, 0)).to_have_attribute("alt", "cat.png")
    assert was != picture(page, 0).get_attribute("src")
    cell(page, 2).click()
    page.get_by_role("button", name="Remove the picture").click()
    expect(picture(page, 2)).to_have_count(0)

    keys.press("Tab")  # letters write nothing there, Enter chooses
    cell(page, 1).focus()
    keys.type("x")
    keys.press("Enter")
    page.get_by_role("button", name="Leave it").click()
    expect(cell(page, 1).locator("textarea")).to_have_count(0)
    cell(page, 1).focus()
    keys.press("Delete")
    expect(picture(page, 1)).to_have_count(0)
    choose(page, lambda: cell(page, 1).press("Enter"), "house.png")
    expect(picture(page, 1)).to_be_visible()

    page.get_by_role("button", name="Use these rows").click()
    expect(teach.report).to_contain_text("2usable", timeout=60_000)
    expect(teach.report).to_contain_text("2pictures")
    # A page that is left while it still measures says that its connection broke.
    expect(teach.needs.locator(".tile").first).to_be_visible(timeout=1000 * COMPILED)
    page.reload()
    Teach(page)
    expect(picture(page, 0)).to_have_attribute("alt", "cat.png")
    expect(picture(page, 1)).to_be_visible()
    expect(teach.report).to_contain_text("2pictures")
    page.get_by_role("button", name="Use these rows").click()
    expect(teach.report).to_contain_text("2usable", timeout=60_000)


def test_what_is_no_picture_changes_nothing_and_a_sheet_is_spread(
    visit: Callable[..., Chat], tmp_path: Path
) -> None:
    page = visit().page
    teach = Teach(page)
    teach.source("Type")
    write(page, 0, "What is this?", "a cat")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    drop(page, 0, broken)
    expect(teach.chosen).to_contain_text("Please use")
    expect(picture(page, 0)).to_have_count(0)
    expect(cell(page, 0, 0)).to_contain_text("What is this?")
    sheet = tmp_path / "more.csv"
    sheet.write_text("question,answer\nWho?,Me.\n")
    drop(page, 0, sheet)
    expect(teach.chosen).to_contain_text("Put into the table: 1.")
    expect(cell(page, 1, 1)).to_contain_text("Me.")


def test_a_phone_in_chinese_has_room_for_all_three_columns(visit: Callable[..., Chat]) -> None:
    phone = {"has_touch": True, "is_mobile": True}
    page = visit(viewport={"width": 390, "height": 844}, **phone).page
    page.goto(page.url.split("?")[0].split("#")[0] + "zh")
    page.get_by_role("tab", name="训练").click()
    page.locator("#sources").get_by_role("tab", name="输入").click()
    choose(page, cell(page, 0).tap, "house.png")
    expect(picture(page, 0)).to_be_visible()
    for column in range(3):
        box = cell(page, 0, column).bounding_box()
        assert box and box["height"] >= 44 and box["width"] >= 44
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    cell(page, 0).tap()
    button = page.get_by_role("button", name="移除图片")
    box = button.bounding_box()
    assert box and box["height"] >= 44 and 0 <= box["x"] <= 390 - box["width"]
    button.tap()
    expect(picture(page, 0)).to_have_count(0)
