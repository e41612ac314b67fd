"""Pictures in the chat: every way in, what is seen, and what stays."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from demo.ui.chinese import CHINESE
from demo.ui.strings import ENGLISH, Strings
from tests.browser.chat import Chat
from tests.browser.conftest import SAMPLES

pytestmark = pytest.mark.page

SHAPE = "What shape is in the image?"
COLOR = "What color is the shape?"


def test_pasted_picture_is_seen_and_stays(chat: Chat) -> None:
    chat.paste(SAMPLES / "red-circle.png")
    chat.ask(COLOR)
    assert chat.answered(1).lower().startswith("red")
    expect(chat.facts).to_contain_text("picture used")
    expect(chat.pictures).to_have_count(1)
    expect(chat.chip).to_contain_text("Picture in use")
    expect(chat.chip).to_contain_text("photographs of ImageNet's 1,000 kinds")
    expect(chat.chip).to_contain_text("flat shapes (circle, rectangle, triangle) in eight colours")
    chat.ask(SHAPE)  # the picture is still in use
    assert chat.answered(2).lower().startswith("circle")
    expect(chat.pictures).to_have_count(1)


@pytest.mark.parametrize(("locale", "words"), [("en-US", ENGLISH), ("zh-CN", CHINESE)])
def test_a_file_of_another_kind_is_refused_in_the_pages_words(
    visit: Callable[..., Chat], tmp_path: Path, locale: str, words: Strings
) -> None:
    chat = visit(locale=locale)
    (tmp_path / "notes.txt").write_text("no picture")
    chat.page.locator("#box input[type=file]").set_input_files(tmp_path / "notes.txt")
    told = chat.page.get_by_test_id("toast-text")
    expect(told).to_have_text(words.refused_media.format(name="notes.txt"))


def test_the_picture_in_use_leaves_room_for_the_button(visit: Callable[..., Chat]) -> None:
    chat = visit(viewport={"width": 390, "height": 844})
    chat.attach(SAMPLES / "red-circle.png")
    chat.ask(COLOR)
    chat.answered(1)
    button = chat.page.get_by_role("button", name="Remove", exact=True)
    expect(button).to_be_in_viewport(ratio=1)
    text, place = chat.chip.locator("b").bounding_box(), button.bounding_box()
    assert text and place and text["x"] + text["width"] <= place["x"] <= 390 - place["width"]


def test_a_doubt_about_the_picture_stands_under_the_reply(chat: Chat, tmp_path: Path) -> None:
    noise = tmp_path / "noise.png"
    Image.effect_noise((200, 150), 90).convert("RGB").save(noise)
    chat.attach(noise)
    chat.ask(SHAPE)
    reply = chat.answered(1)
    assert reply and ENGLISH.unfamiliar not in reply
    doubt = chat.page.locator("#conversation .doubt")
    expect(doubt).to_have_text(ENGLISH.unfamiliar)
    lines = doubt.bounding_box(), chat.replies.last.bounding_box(), chat.facts.bounding_box()
    assert lines[1]["y"] + lines[1]["height"] <= lines[0]["y"] < lines[2]["y"]


def test_a_new_picture_takes_over_without_a_reset(chat: Chat) -> None:
    chat.attach(SAMPLES / "red-circle.png")
    chat.ask(SHAPE)
    assert chat.answered(1).lower().startswith("circle")
    chat.drop(SAMPLES / "teal-triangle.png")
    chat.ask(SHAPE)
    assert chat.answered(2).lower().startswith("triangle")
    expect(chat.pictures).to_have_count(2)
    expect(chat.questions).to_have_count(2)


def test_a_removed_picture_is_no_longer_seen(chat: Chat) -> None:
    chat.attach(SAMPLES / "red-circle.png")
    chat.ask(SHAPE)
    chat.answered(1)
    chat.page.get_by_role("button", name="Remove", exact=True).click()
    expect(chat.chip).to_be_hidden()
    expect(chat.pictures).to_have_count(1)
    chat.ask("What is the capital of France?")
    assert "Paris" in chat.answered(2)  # and not one more shape
    expect(chat.facts.last).to_contain_text("no picture")


def test_each_of_two_pictures_is_asked_about(chat: Chat) -> None:
    files = [SAMPLES / "red-circle.png", SAMPLES / "teal-triangle.png"]
    chat.page.locator("#box input[type=file]").set_input_files(files)
    expect(chat.page.locator("#box .thumbnail-item img")).to_have_count(2)
    chat.ask(SHAPE)
    assert chat.answered(2).lower().startswith("triangle")
    assert chat.replies.nth(0).inner_text().lower().startswith("circle")
    expect(chat.questions).to_have_text([SHAPE, SHAPE])
    expect(chat.pictures).to_have_count(2)
    expect(chat.page.locator("#box .thumbnail-item")).to_have_count(0)


def test_a_question_about_no_picture_stays_in_the_box(chat: Chat) -> None:
    chat.ask("What is in this picture?")
    expect(chat.notice).to_contain_text("No picture is attached")
    expect(chat.box).to_have_value("What is in this picture?")
    expect(chat.questions).to_have_count(0)


def test_undo_gives_the_picture_back(chat: Chat) -> None:
    chat.attach(SAMPLES / "red-circle.png")
    chat.ask(SHAPE)
    chat.answered(1)
    chat.button("Undo")
    expect(chat.box).to_have_value(SHAPE)
    expect(chat.page.locator("#box .thumbnail-item img")).to_be_visible()
    expect(chat.chip).to_be_hidden()
    chat.box.press("Enter")
    assert chat.answered(1).lower().startswith("circle")


def test_editing_keeps_the_picture_of_the_turn(chat: Chat) -> None:
    chat.attach(SAMPLES / "red-circle.png")
    chat.ask(SHAPE)
    chat.answered(1)
    chat.edit(COLOR)
    expect(chat.questions).to_have_text(COLOR)
    expect(chat.replies.last).to_contain_text("red")
    chat.answered(1)
    expect(chat.pictures).to_have_count(1)


def test_what_is_no_picture_is_refused_and_the_words_stay(chat: Chat, tmp_path: Path) -> None:
    fake = tmp_path / '"><img src=x onerror=alert(1)>.png'.replace("/", "")
    fake.write_bytes(b"not a picture at all")
    chat.page.locator("#box input[type=file]").set_input_files(fake)
    expect(chat.page.locator("#box .thumbnail-item")).to_be_visible()
    chat.ask(SHAPE)
    expect(chat.notice).to_contain_text("not a picture")
    expect(chat.box).to_have_value(SHAPE)
    expect(chat.questions).to_have_count(0)


def test_an_adapter_that_cannot_see_says_so(chat: Chat) -> None:
    chat.page.get_by_label("Adapter").click()
    chat.page.get_by_role("option", name="none").click()
    expect(chat.page.locator("#adapter-note")).to_contain_text("cannot see pictures")
    chat.attach(SAMPLES / "red-circle.png")
    chat.ask(SHAPE)
    expect(chat.notice).to_contain_text("cannot see pictures")
    expect(chat.questions).to_have_count(1)
    chat.page.get_by_label("Adapter").click()
    chat.page.get_by_role("option", name="auto").click()
    chat.button("Retry")
    assert chat.answered(1).lower().startswith("circle")


def test_every_example_card_is_answered(chat: Chat) -> None:
    cards = chat.page.locator("#conversation .example")
    expect(cards).to_have_count(9)
    for number in range(9):
        cards.nth(number).click()
        assert chat.answered(1)
        expect(chat.facts).to_contain_text("picture used" if number < 6 else "no picture")
        chat.page.get_by_role("button", name="New chat").click()
        expect(chat.questions).to_have_count(0)


def test_the_base_is_asked_beside_an_adapter(chat: Chat) -> None:
    chat.attach(SAMPLES / "house.png")
    chat.ask("What is this?")
    chat.answered(1)
    ask, beside = chat.page.locator(".ask-base"), chat.page.locator("#conversation .base-answer")
    ask.click()
    expect(beside).to_contain_text("The base alone, which sees no picture, says")
    expect(chat.send_button).to_be_visible(timeout=60_000)
    expect(beside.locator("p")).not_to_have_text("")
    expect(ask).to_have_count(0)
    chat.ask("Is it a building?")
    chat.answered(2)
    expect(chat.questions).to_have_count(2)
    expect(beside).to_have_count(1)  # where it stood
    expect(ask).to_have_count(1)
