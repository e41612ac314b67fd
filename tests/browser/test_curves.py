"""The curves of a training in a real browser: their values by pointer and by keys, and as files.

What is shown is the page's own HTML with its style sheets and script, without the program behind
it; that a press fetches the values from there is in `test_teach.py`.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from demo.finetune.train.events import Evaluated, RunHistory, Started, Step
from demo.ui.chinese import CHINESE
from demo.ui.server import STYLES
from demo.ui.strings import ENGLISH, Strings
from demo.ui.teach import html
from demo.ui.theme import ASSETS
from tests.unit.ui.snippets import run

pytestmark = pytest.mark.page

COLOURS = """
    :root {
        --primary-500: #c8623a;
        --body-text-color: #26201c;
        --background-fill-primary: #fffdfa;
    }
    body { width: 900px; padding: 40px; font-family: sans-serif }
"""


def told(steps: int) -> RunHistory:
    """Make the history of a training whose loss at step n is 4 / n."""
    done = [Step(n, 4.0 / n, 5e-3, (0.1, 0.2), 1.0) for n in range(1, steps + 1)]
    looks = [Evaluated(n, 4.5 / max(n, 1), 0.25, True) for n in range(0, steps + 1, 10)]
    return RunHistory().with_events([Started(9, 40, 11, 1), *done, *looks])


Shown = Callable[..., Page]


@pytest.fixture
def shown(browser: Browser) -> Iterator[Shown]:
    """`shown(strings, steps)` → a page with the curves of a training after so many steps."""
    contexts = []

    def new(strings: Strings = ENGLISH, steps: int = 20) -> Page:
        contexts.append(browser.new_context(viewport={"width": 1000, "height": 900}))
        page = contexts[-1].new_page()
        style = "".join((ASSETS / f"{name}.css").read_text(encoding="utf-8") for name in STYLES)
        script = (ASSETS / "charts.js").read_text(encoding="utf-8")
        live = html.live(run(), told(steps), strings.teach)
        page.set_content(
            f"<style>{style}{COLOURS}</style><script>{script}</script>"
            f'<div id="step-run"><div id="live">{live}</div></div>'
        )
        page.wait_for_timeout(200)  # the script has found what it watches
        return page

    yield new
    for context in contexts:
        context.close()


def test_the_pointer_reads_the_values_of_a_step(shown: Shown) -> None:
    page = shown()
    loss = page.get_by_role("slider", name="Loss")
    expect(loss).to_contain_text("nats a token")
    expect(loss).to_contain_text("step")
    box = loss.bounding_box()
    at = (40 + (364 - 40) * 10 / 40) / 376  # step 10 of 40, in the axes of demo/charts.py
    page.mouse.move(box["x"] + at * box["width"], box["y"] + box["height"] / 2)
    reading = page.locator(".reading")
    expect(reading).to_contain_text("step 10")
    expect(reading).to_contain_text("training 0.4")
    expect(reading).to_contain_text("held out 0.45")
    page.mouse.move(box["x"] + (at + 4.1 * 324 / 40 / 376) * box["width"], box["y"] + 50)
    expect(reading).to_contain_text("step 14")
    expect(reading).to_contain_text("held out 0.45 (step 10)")  # the one that is nearest
    inside = reading.bounding_box()
    assert box["x"] <= inside["x"]
    assert inside["x"] + inside["width"] <= box["x"] + box["width"] + 1
    page.mouse.move(5, 5)
    expect(reading).to_have_count(0)


def test_keys_read_them_too_while_it_goes_on(shown: Shown) -> None:
    page = shown()
    loss = page.get_by_role("slider", name="Loss")
    page.keyboard.press("Tab")
    expect(loss).to_be_focused()
    expect(loss).to_have_attribute("aria-valuetext", re.compile("^step 20, .*training 0.2"))
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(loss).to_have_attribute("aria-valuenow", "1")
    expect(page.locator(".reading")).to_contain_text("training 4")
    # The next step is there: all is drawn anew, and the place and the focus stay.
    page.evaluate(
        "(live) => { document.querySelector('#live').innerHTML = live; }",
        html.live(run(), told(21), ENGLISH.teach),
    )
    expect(loss).to_be_focused()
    expect(page.locator(".reading")).to_contain_text("step 1training 4")
    page.keyboard.press("End")
    expect(loss).to_have_attribute("aria-valuenow", "21")
    page.keyboard.press("Tab")
    expect(page.get_by_role("slider", name="Exact replies")).to_be_focused()


def test_the_words_are_those_of_the_page(shown: Shown) -> None:
    page = shown(CHINESE)
    loss = page.get_by_role("slider", name="损失")
    expect(loss).to_contain_text("每词元奈特数")
    loss.focus()
    page.keyboard.press("End")
    expect(loss).to_have_attribute("aria-valuetext", re.compile("^步 20, 训练 0.2"))
    expect(page.locator(".save-curves")).to_contain_text(CHINESE.teach.save_values)


def test_all_curves_are_saved_as_one_picture(shown: Shown, tmp_path: Path) -> None:
    page = shown()
    page.mouse.move(300, 300)
    for form in ("SVG", "PNG"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Picture ({form})").click()
        assert download.value.suggested_filename.endswith(f"-curves.{form.lower()}")
        download.value.save_as(tmp_path / form)
    drawn = (tmp_path / "SVG").read_text(encoding="utf-8")
    assert drawn.count("<path") == 5  # of three charts
    for words in ("Loss", "held out", "nats a token", "Learning rate", "rgb(200, 98, 58)"):
        assert words in drawn
    assert "data-values" not in drawn and "guide" not in drawn
    with Image.open(tmp_path / "PNG") as image:
        assert image.width == 2 * (376 + 32)
        assert (200, 98, 58) in {colour for _, colour in image.convert("RGB").getcolors(10**6)}
