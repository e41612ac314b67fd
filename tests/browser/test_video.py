"""A short video in the chat: dropped, looked at, shown in frames."""

from pathlib import Path

import av
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import SAMPLES
from tests.videos import write_video

pytestmark = pytest.mark.page

SHAPE = "What shape is in the image?"


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    """Four seconds of a red circle that wanders to the right, as WebM."""
    path = tmp_path / "circle.webm"
    with Image.open(SAMPLES / "red-circle.png") as image, av.open(path, "w") as out:
        picture = image.convert("RGB").resize((128, 128))
        stream = out.add_stream("libvpx", rate=8)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for number in range(32):
            moved = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
            moved.paste(picture, (number // 4, 0))
            out.mux(stream.encode(av.VideoFrame.from_image(moved).reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return path


def test_a_dropped_video_is_answered_and_shown_in_eight_frames(chat: Chat, circle: Path) -> None:
    chat.drop(circle)
    chat.ask(SHAPE)
    assert chat.answered(1).lower().startswith("circle")
    expect(chat.facts).to_contain_text("8 frames used")
    expect(chat.chip).to_contain_text("Video in use")
    expect(chat.frames).to_have_count(8)
    assert chat.frames.evaluate_all("all => all.every((i) => i.naturalWidth === 128)")
    expect(chat.frames.first).to_have_attribute("alt", "The video after 0.2 s")
    expect(chat.page.locator(".frames figcaption")).to_have_text(
        "A video, 4 s; I look at 8 frames of it."
    )
    chat.ask("Is there a triangle?")  # the video is still in use
    assert chat.answered(2).lower().startswith("no")
    expect(chat.frames).to_have_count(8)


def test_undo_and_edit_keep_the_video(chat: Chat, circle: Path) -> None:
    chat.attach(circle)
    chat.ask("What color is the shape?")
    chat.answered(1)
    chat.edit(SHAPE)
    expect(chat.questions).to_have_text(SHAPE)
    expect(chat.replies.last).to_contain_text("circle")
    chat.answered(1)
    chat.button("Undo")
    expect(chat.box).to_have_value(SHAPE)
    expect(chat.page.locator("#box .thumbnail-item img")).to_be_visible()
    chat.box.press("Enter")
    assert chat.answered(1).lower().startswith("circle")
    expect(chat.frames).to_have_count(8)


def test_a_video_that_is_too_long_is_refused_and_the_words_stay(chat: Chat, tmp_path: Path) -> None:
    chat.attach(write_video(tmp_path / "long.mp4", frames=62, rate=2))
    chat.ask(SHAPE)
    expect(chat.notice).to_contain_text("31 s long")
    expect(chat.box).to_have_value(SHAPE)
    expect(chat.questions).to_have_count(0)


@pytest.mark.parametrize("width", [390, 1280])
def test_frames_stay_inside_the_page(visit, circle: Path, width: int) -> None:
    chat: Chat = visit(viewport={"width": width, "height": 844})
    chat.attach(circle)
    chat.ask(SHAPE)
    chat.answered(1)
    rows = {round(frame.bounding_box()["y"]) for frame in chat.frames.all()}
    assert len(rows) == (1 if width > 760 else 2)
    for frame in chat.frames.all():
        box = frame.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
