"""Teaching an adapter in the browser, with the real program, a tiny data set and few steps."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.teach import COMPILED, Teach, rows
from tests.serving import Served

pytestmark = [pytest.mark.page, pytest.mark.trainings]

CORRECTION = "<script>document.title = 1</script> <b>Madrid</b> **b** ${1 + 1}"
NASTY = '<script>document.title = 1</script><img src=x onerror="document.title = 2"> **b** ${1 + 1}'


def test_four_steps_then_a_chat_with_the_result_until_it_is_deleted(
    visit: Callable[..., Chat], server: Served, tmp_path: Path
) -> None:
    chat = visit()
    teach = Teach(chat.page)
    expect(teach.report).to_contain_text("Choose data first")
    expect(teach.start).to_be_hidden()
    data = tmp_path / "spelled.csv"
    data.write_text(rows() + "What is this?,\n")
    teach.upload(data)
    expect(teach.chosen).to_contain_text("spelled.csv: 13 rows, read as “question and reply”")
    expect(teach.report).to_contain_text("12usable")
    expect(teach.report).to_contain_text("row 14 The reply is empty")
    teach.report.get_by_text("exactly as the model reads them").click()
    expect(teach.report.locator("mark").first).to_contain_text("<|im_end|>")
    expect(chat.page.locator("#adapter-name input, #adapter-name textarea")).to_have_value(
        "spelled"
    )
    teach.smallest(steps=4)
    teach.start.dblclick()
    expect(teach.state).to_be_visible()

    expect(teach.state).to_contain_text("Step", timeout=1000 * COMPILED)

    # A reload changes nothing: the run is this browser's.
    chat.page.reload()
    tab = chat.page.locator("#teach-tab-button")
    seen = re.compile("moving|done")  # from the chat
    expect(tab).to_have_attribute("data-kind", seen, timeout=1000 * COMPILED)
    order = tab.evaluate("(tab) => getComputedStyle(tab, '::before').order")
    assert order == "1"  # behind the word
    teach.open()
    expect(teach.state).to_contain_text("spelled")
    teach.over("done")
    # Its end was seen, once the tab's own clock has heard of it.
    expect(tab).not_to_have_attribute("data-badge", re.compile("."), timeout=1000 * COMPILED)
    expect(chat.page.locator("#earlier")).to_be_hidden()  # two clicks were one run
    expect(chat.page.locator("#live svg.chart").first).to_be_visible()
    expect(chat.page.locator("#live .strip i")).to_have_count(8)
    expect(teach.result.locator(".beside").first).to_contain_text("With the adapter")
    with chat.page.expect_download() as download:
        chat.page.get_by_role("button", name="Values (CSV)").click()
    assert download.value.suggested_filename == "spelled-curves.csv"
    assert download.value.path().read_text().count("\n") >= 5  # a head and each of four steps
    with chat.page.expect_download() as download:
        teach.button("Download").click()
    assert download.value.suggested_filename == "spelled.safetensors"
    assert download.value.path().stat().st_size > 1000

    teach.button("Use in chat").click()
    expect(chat.page.get_by_label("Adapter", exact=True)).to_have_value("spelled")
    expect(chat.page.locator("#conversation .example").first).to_contain_text("spelled backwards?")
    chat.ask("What is sun spelled backwards?")
    assert chat.answered(1)
    expect(chat.facts).to_contain_text("spelled")
    # Nobody else is offered it, and no program knows it.
    assert "spelled" not in json.dumps(server.call("adapters", ""))
    told = [server.told("chat", message="hi", adapter=name) for name in ("spelled", "nobody")]
    assert all("There is no adapter" in text for text in told)
    assert told[0].replace("spelled", "nobody") == told[1]
    # Its maker's programs do, by the key that the tab shows.
    teach.open()
    chat.page.get_by_role("button", name="Use it from a program").click()
    code = chat.page.locator("#program .cm-content")
    expect(code).to_contain_text('adapter="spelled"')
    key = re.search(r'key = "([\w-]{43})"', code.inner_text())[1]
    assert "spelled" in json.dumps(server.call("adapters", key))
    assert "There is no" not in server.told("chat", message="hi", adapter="spelled", key=key)
    other = visit()
    other.page.get_by_label("Adapter").click()
    expect(other.page.get_by_role("option", name="shapes")).to_be_visible()
    expect(other.page.get_by_role("option", name="spelled")).to_have_count(0)
    deleted_it_leaves_the_chat_too(chat, teach)


def deleted_it_leaves_the_chat_too(chat: Chat, teach: Teach) -> None:
    """Delete what is taught, and in use: the chat goes on without it, after a reload too."""
    teach.button("Delete").click()
    chat.page.get_by_role("button", name="Delete for good").click()
    expect(teach.state).to_be_hidden()
    chat.page.get_by_role("tab", name="Chat").click()
    expect(chat.page.get_by_label("Adapter", exact=True)).to_have_value("auto")
    chat.page.reload()
    chat.page.get_by_label("Adapter", exact=True).click()
    expect(chat.page.get_by_role("option", name="shapes")).to_be_visible()
    expect(chat.page.get_by_role("option", name="spelled")).to_have_count(0)


def test_stop_and_keep_then_stop_and_discard(visit: Callable[..., Chat]) -> None:
    chat = visit()
    teach = Teach(chat.page)
    teach.take(rows())
    expect(teach.report).to_contain_text("12usable")
    teach.smallest(steps=5000)
    teach.start.click()
    expect(teach.state).to_contain_text(re.compile(r"Step [1-9]"), timeout=1000 * COMPILED)
    second = Teach(_second_tab(chat))
    expect(second.state).to_contain_text("Step")
    teach.button("Stop and keep").click()
    teach.over("stopped")
    expect(teach.state).to_contain_text(re.compile("steps? is kept"))
    expect(teach.button("Use in chat")).to_be_visible()
    teach.button("Resume").click()
    expect(chat.page.locator(".run-state:is(.running, .preparing)")).to_be_visible()
    teach.button("Stop and discard").click()
    teach.over("stopped")
    expect(teach.state).to_contain_text("Nothing is kept")
    expect(teach.button("Use in chat")).to_be_hidden()
    teach.button("Delete").click()
    expect(chat.page.get_by_text("Delete “my-adapter” for good?")).to_be_visible()
    chat.page.get_by_role("button", name="Keep it").click()
    expect(teach.state).to_be_visible()
    teach.button("Delete").click()
    chat.page.get_by_role("button", name="Delete for good").click()
    expect(teach.state).to_be_hidden()


def test_what_cannot_be_taught_is_refused_in_our_words(
    visit: Callable[..., Chat], tmp_path: Path
) -> None:
    teach = Teach(visit().page)
    broken = tmp_path / "broken.json"
    broken.write_text('[{"question": "a", ')
    teach.upload(broken)
    expect(teach.chosen.get_by_role("alert")).to_contain_text("JSON")
    expect(teach.start).to_be_hidden()
    picture = tmp_path / "data.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    teach.upload(picture)
    expect(teach.chosen.get_by_role("alert")).not_to_contain_text("JSON")
    for name, size in (("table.csv", 41), ("pictures.zip", 201)):  # not even sent
        huge = tmp_path / name
        with huge.open("wb") as file:
            file.truncate(size * 10**6)
        teach.upload(huge)
        expect(teach.chosen.get_by_role("alert")).to_contain_text("zips of at most 200 MB")
        teach.upload(broken)
        expect(teach.chosen.get_by_role("alert")).to_contain_text("JSON")
    nothing = tmp_path / "nothing.csv"
    nothing.write_text("question,answer\nWhat?,\nWhy?,\n")
    teach.upload(nothing)
    expect(teach.report.get_by_role("alert")).to_contain_text("None of the 2 rows can be used")
    expect(teach.start).to_be_hidden()


def test_columns_are_mapped_by_hand_when_their_names_do_not_say_it(
    visit: Callable[..., Chat], tmp_path: Path
) -> None:
    chat = visit()
    teach = Teach(chat.page)
    data = tmp_path / "sheet.csv"
    data.write_text(rows(3).replace("question,answer", "left,right"))
    teach.upload(data)
    expect(chat.page.get_by_text("Which column is what?")).to_be_visible()
    for label, column in (("Question", "left"), ("Reply to learn", "right")):
        chat.page.locator("#mapping").get_by_label(label, exact=True).click()
        chat.page.get_by_role("option", name=column).last.click()
    chat.page.get_by_role("button", name="Use these columns").click()
    expect(teach.report).to_contain_text("3usable")
    expect(teach.chosen).to_contain_text("by hand")


def test_liked_and_corrected_replies_become_rows_and_stay_text(
    visit: Callable[..., Chat],
) -> None:
    chat = visit()
    chat.longest_reply(4)
    chat.ask("What is the capital of France?")
    chat.answered(1)
    chat.page.locator("#conversation").get_by_role("button", name="Like").first.click()
    expect(
        chat.page.locator("#conversation").get_by_role("button", name="Liked").first
    ).to_be_visible()
    chat.ask("And of Spain?")
    chat.answered(2)
    chat.correct(CORRECTION)
    expect(chat.facts.last).to_contain_text("corrected by you")
    teach = Teach(chat.page)
    teach.source("Type")
    teach.page.get_by_role("button", name="Add rows from my chat").click()
    expect(teach.chosen).to_contain_text("Added from your chat: 2.")
    teach.page.get_by_role("button", name="Use these rows").click()
    expect(teach.report).to_contain_text("2usable")
    assert teach.page.locator("#teach :is(script, img)").count() == 0


FASTER_THAN_A_FRAME = """(cell) => ["H", "i", "Enter"].forEach((key) =>
    cell.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })))"""


def whole(text: str) -> re.Pattern[str]:
    """All that a cell holds, beside the signs of its menu."""
    return re.compile(rf"^\W*{re.escape(text)}\W*$")


def test_what_is_typed_on_a_cell_stands_in_it_whole(visit: Callable[..., Chat]) -> None:
    chat = visit()
    teach = Teach(chat.page)
    teach.source("Type")
    cells, keys = chat.page.locator("#teach-table [role=gridcell]"), chat.page.keyboard
    cells.first.click()
    expect(cells.first.locator("textarea")).to_be_focused()  # open, for any way of typing
    keys.type("How much is it?")
    keys.press("Escape")  # closes it: the cell is selected
    keys.press("ArrowRight")
    expect(cells.nth(1)).to_be_focused()
    keys.type("Hello there")
    keys.press("Enter")
    cells.first.dblclick()
    keys.press("End")
    keys.type(" Today?")
    keys.press("Enter")
    expect(cells.first).to_have_text(whole("How much is it? Today?"))
    expect(cells.nth(1)).to_have_text(whole("Hello there"))
    # Whoever types faster than a cell opens has it all in that cell; the third is of a picture.
    cells.nth(3).click()
    keys.press("Escape")
    cells.nth(3).evaluate(FASTER_THAN_A_FRAME)
    expect(cells.nth(3)).to_have_text(whole("Hi"))
    cells.nth(3).dblclick()
    keys.press("ControlOrMeta+a")
    keys.press("Backspace")
    keys.press("Enter")
    expect(cells.nth(3)).to_have_text(whole(""))
    chat.page.get_by_role("button", name="Use these rows").click()
    expect(teach.report).to_contain_text("1usable")
    # Another visit of this browser finds all of it: a second tab, as after a reload.
    page = _second_tab(chat)
    again = Teach(page)
    expect(again.chosen).to_contain_text("typed rows: 1")
    expect(again.report).to_contain_text("1usable")
    expect(page.locator("#teach-table")).to_contain_text("How much is it? Today?")
    expect(again.start).to_be_enabled()


def test_cells_of_a_spreadsheet_are_spread_over_the_table(visit: Callable[..., Chat]) -> None:
    teach = Teach(visit().page)
    teach.source("Type")
    teach.page.locator("#teach-table [role=gridcell]").first.click()
    teach.page.evaluate(
        """(text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            const paste = { clipboardData, bubbles: true, cancelable: true };
            const cell = document.querySelector("#teach-table [role=gridcell]");
            cell.dispatchEvent(new ClipboardEvent("paste", paste));
        }""",
        rows().replace(",", "\t").split("\n", 1)[1],
    )
    expect(teach.chosen).to_contain_text("Put into the table: 12.")
    expect(teach.page.locator("#teach-table")).to_contain_text("What is sun spelled backwards?")
    expect(teach.page.locator("#teach-table")).to_contain_text("nus")
    teach.take("one\teno\ntwo\towt\n")  # is added
    expect(teach.report).to_contain_text("14usable", timeout=60_000)


@pytest.mark.matrix("C8")
def test_hostile_rows_are_only_text(visit: Callable[..., Chat]) -> None:
    teach = Teach(visit().page)
    teach.paste(json.dumps([{NASTY: NASTY, "b": NASTY}]))  # no column says what it is
    expect(teach.page.locator("#mapping")).to_contain_text(NASTY[:40])
    row = {"question": NASTY, "answer": NASTY}
    teach.take(json.dumps([row, row, {"question": NASTY}]))
    expect(teach.report).to_contain_text("1usable")
    expect(teach.report.locator("pre").first).to_contain_text(NASTY)
    assert teach.page.locator("#teach :is(script, img)").count() == 0
    assert teach.page.title() == "LLaMA-Adapter Studio"


@pytest.mark.parametrize("width", [390, 1280])
def test_tab_fits_by_day_and_by_night(visit: Callable[..., Chat], width: int) -> None:
    phone = {"has_touch": True, "is_mobile": True} if width < 500 else {}
    schemes = ("dark", "light") if phone else ("light", "dark")
    chat = visit(viewport={"width": width, "height": 844}, color_scheme=schemes[0], **phone)
    teach = Teach(chat.page)
    teach.page.locator("#sample-pirate").click()
    expect(teach.report).to_contain_text("167usable")
    for scheme in schemes:
        chat.page.emulate_media(color_scheme=scheme)
        expect(chat.page.locator("body.dark")).to_have_count(int(scheme == "dark"))
        for locator in ("document.documentElement", "document.querySelector('#teach')"):
            assert chat.page.evaluate(f"{locator}.scrollWidth <= {locator}.clientWidth")


def _second_tab(chat: Chat) -> object:
    page = chat.page.context.new_page()
    page.goto(chat.page.url)
    return page


def test_a_refused_row_is_mended_in_the_check(visit: Callable[..., Chat], tmp_path: Path) -> None:
    chat = visit()
    teach = Teach(chat.page)
    mend = chat.page.locator("#mend-table")
    data = tmp_path / "gaps.csv"
    data.write_text("question,answer\nWho?,I\nWhy?,\nWhen?,At nine\n")
    teach.upload(data)
    expect(teach.report).to_contain_text("2usable")
    expect(mend).to_contain_text("The reply is empty")
    cells, keys = mend.locator("[role=gridcell]"), chat.page.keyboard
    expect(cells.first).to_contain_text("3")
    cells.nth(3).dblclick()
    keys.type("Because.")
    keys.press("Enter")
    expect(cells.nth(3)).to_contain_text("Because.")
    chat.page.get_by_role("button", name="Check again").click()
    expect(teach.report).to_contain_text("3usable")
    expect(mend).to_be_hidden()
    expect(teach.start).to_be_enabled()
