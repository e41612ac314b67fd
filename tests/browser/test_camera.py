"""Pictures of classes from the camera, with Chromium's own false camera."""

import re
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from playwright.sync_api import Browser, Locator, expect

from tests.browser.chat import Chat
from tests.browser.conftest import QUIET, SAMPLES
from tests.browser.teach import COMPILED, Teach
from tests.browser.test_accessibility import faults
from tests.browser.test_look import SETTLED, SMALL
from tests.serving import Served

pytestmark = pytest.mark.page

CAMERA = "--use-fake-device-for-media-stream"  # something that moves
ALLOWED = "--use-fake-ui-for-media-stream"


@pytest.fixture(scope="module")
def browser(browser: Browser) -> Iterator[Browser]:
    """A Chromium that has a camera, and need not ask whether the page may use it."""
    with _chromium(browser, CAMERA, ALLOWED) as chromium:
        yield chromium


def _chromium(browser: Browser, *flags: str) -> Browser:
    return browser.browser_type.launch(executable_path=_path(), args=[*QUIET, *flags])


def _path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Camera:
    """The field, in words instead of selectors."""

    def __init__(self, teach: Teach) -> None:
        teach.source("Camera")
        self.page, self.teach = teach.page, teach
        self.field = teach.page.locator("#teach-camera .camera")
        self.classes = self.field.locator(".classes > li")
        self.said, self.sent = self.field.locator(".said"), self.field.locator(".sent")
        expect(self.classes.nth(1)).to_be_visible()  # what was kept is back

    def press(self, name: str) -> None:
        self.field.get_by_role("button", name=name, exact=True).click()

    def on(self) -> None:
        self.press("Turn the camera on")
        expect(self.field.locator("video")).to_be_visible()
        expect(self.said).to_contain_text("The camera is on")

    def button(self, number: int) -> Locator:
        return self.classes.nth(number).get_by_role("button", name="Hold to take pictures")

    def shots(self, number: int) -> Locator:
        return self.classes.nth(number).locator(".shots img")

    def name(self, number: int, name: str) -> None:
        self.classes.nth(number).get_by_label("Name of the class").fill(name)

    def hold(self, number: int, least: int) -> None:
        """Hold a class's button with the mouse until it has so many pictures at least."""
        self.button(number).hover()
        self.page.mouse.down()
        expect(self.shots(number).nth(least - 1)).to_be_visible()
        self.page.mouse.up()

    def settled(self, number: int) -> int:
        """Count the pictures of a class: the last is drawn some moments after it was taken."""
        count = int(re.search(r"\d+", self.classes.nth(number).locator(".count").inner_text())[0])
        expect(self.shots(number)).to_have_count(count)
        return count


def test_pictures_are_taken_mended_kept_and_become_rows(visit: Callable[..., Chat]) -> None:
    chat = visit()
    camera = Camera(Teach(chat.page))
    camera.press("Use these pictures")
    expect(camera.sent).to_contain_text("two classes at least")
    camera.on()
    camera.hold(0, 20)
    first = camera.settled(0)
    camera.hold(1, 3)  # with the focus still on the other one
    some = camera.settled(1)
    camera.button(1).focus()
    chat.page.keyboard.down("Space")
    expect(camera.shots(1).nth(some + 4)).to_be_visible()
    chat.page.keyboard.up("Space")
    second = camera.settled(1)
    camera.press("Add a class")
    camera.button(2).dispatch_event("click")  # as a screen reader presses
    expect(camera.shots(2)).to_have_count(20)

    camera.classes.nth(2).get_by_role("button", name="Remove class").click()
    camera.classes.nth(2).get_by_role("button", name="Remove its pictures too").click()
    expect(camera.classes).to_have_count(2)
    camera.shots(0).nth(3).click()
    expect(camera.shots(0)).to_have_count(first - 1)
    assert camera.settled(0) == first - 1
    camera.name(0, "my cup")
    camera.name(1, "My Cup ")
    camera.press("Use these pictures")
    expect(camera.sent).to_contain_text("a name of its own")
    camera.name(1, 'die "Tür", / 门')

    chat.page.reload()
    camera = Camera(Teach(chat.page))
    expect(camera.shots(0)).to_have_count(first - 1)
    expect(camera.shots(1)).to_have_count(second)
    expect(camera.field.locator("video")).to_be_hidden()  # nobody is filmed unasked
    camera.press("Use these pictures")
    expect(camera.teach.chosen).to_contain_text(f"camera pictures: {first - 1 + second} rows")
    # A false camera that is slow gives a frame twice: the check leaves it out.
    expect(camera.teach.report).to_contain_text(re.compile(r"\d\dpictures"), timeout=60_000)
    expect(chat.page.get_by_label("Kinds of pictures")).to_be_checked()
    camera.teach.report.get_by_text("exactly as the model reads them").click()
    expect(camera.teach.report.locator("mark").first).to_contain_text(re.compile('cup|"Tür", / 门'))
    expect(camera.teach.start).to_be_enabled()

    page = chat.page.context.new_page()  # a second tab, as after a reload
    page.goto(chat.page.url)
    teach = Teach(page)
    expect(teach.chosen).to_contain_text("camera pictures", timeout=60_000)
    expect(page.locator("#teach-camera .classes > li").first).to_be_visible()  # its source
    expect(teach.start).to_be_enabled()


def test_a_phone_is_held_with_a_thumb(visit: Callable[..., Chat]) -> None:
    chat = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page, camera = chat.page, Camera(Teach(chat.page))
    camera.on()
    camera.button(0).scroll_into_view_if_needed()
    box = camera.button(0).bounding_box()
    touch = page.context.new_cdp_session(page)
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    expect(camera.shots(0).nth(9)).to_be_attached()
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    taken = camera.settled(0)
    page.evaluate(SETTLED)
    assert page.evaluate(SMALL) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert faults(page) == []
    assert camera.settled(0) == taken  # let go, it takes no more
    page.get_by_role("tab", name="Chat").click()
    page.get_by_role("tab", name="Teach").click()
    expect(camera.field.get_by_role("button", name="Turn the camera on")).to_be_visible()


# What a browser does for a page that is neither on https nor on this machine.
INSECURE = "Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined })"


@pytest.mark.parametrize(
    ("flags", "script", "sentence"),
    [
        ([], "", "There is no camera here."),
        ([CAMERA], "", "This page may not use the camera."),
        ([CAMERA, ALLOWED], INSECURE, "pages that are on this machine (localhost)"),
    ],
    ids=["no camera", "not allowed", "not on https"],
)
def test_without_a_camera_it_says_why(
    browser: Browser, server: Served, flags: list[str], script: str, sentence: str
) -> None:
    with _chromium(browser, *flags) as chromium:
        page = chromium.new_page()
        page.add_init_script(script)
        camera = Camera(Teach(Chat(page, server.url).page))
        camera.press("Turn the camera on")
        expect(camera.said).to_contain_text(sentence)
        camera.button(0).click()  # says it too, and takes nothing
        expect(camera.said).to_contain_text(sentence)
        expect(camera.shots(0)).to_have_count(0)


@pytest.mark.nightly
def test_the_words_are_chinese_there(visit: Callable[..., Chat]) -> None:
    chat = visit()
    chat.page.goto(chat.page.url.split("?")[0] + "zh#teach")
    chat.page.locator("#sources").get_by_role("tab", name="摄像头").click()
    field = chat.page.locator("#teach-camera .camera")
    expect(field.locator(".classes > li")).to_have_count(2)
    field.get_by_role("button", name="打开摄像头").click()
    expect(field.locator(".said")).to_contain_text("摄像头已打开")
    assert not re.search(r"[a-z]{3}", field.inner_text())


@pytest.mark.nightly
@pytest.mark.trainings
def test_an_own_picture_adapter_from_the_camera_tells_two_things_apart(
    browser: Browser, server: Served, tmp_path: Path
) -> None:
    """Two things are filmed one after the other; between them the browser is closed."""
    for number, thing in enumerate(("apple", "house")):
        film(SAMPLES / f"{thing}.png", tmp_path / f"{thing}.mjpeg")
        flags = [CAMERA, ALLOWED, f"--use-file-for-fake-video-capture={tmp_path}/{thing}.mjpeg"]
        # What a profile keeps outlives its browser.
        with browser.browser_type.launch_persistent_context(
            tmp_path / "profile", executable_path=_path(), args=[*QUIET, *flags]
        ) as context:
            camera = Camera(Teach(Chat(context.pages[0], server.url).page))
            camera.name(number, f"my {thing}")
            camera.on()
            camera.hold(number, 20)
            camera.settled(number)
            if number == 1:
                teach_and_ask(camera, tmp_path)


def teach_and_ask(camera: Camera, room: Path) -> None:
    page, teach = camera.page, camera.teach
    camera.press("Use these pictures")
    expect(teach.report).to_contain_text("usable", timeout=60_000)
    page.locator("#preset").get_by_text("Taste").click()
    teach.start.click()
    teach.over("done", seconds=2 * COMPILED)
    teach.button("Use in chat").click()
    box = page.locator("#box textarea")
    facts = page.locator("#conversation .facts")
    for turn, thing in enumerate(("apple", "house", "apple"), 1):
        shown = room / f"{turn}.jpg"
        shown.write_bytes(frames(SAMPLES / f"{thing}.png", 1, seed=100 + turn)[0])
        page.locator("#box input[type=file]").set_input_files(shown)
        expect(page.locator("#box .thumbnail-item img")).to_be_visible()
        box.fill("What is in the picture?")
        box.press("Enter")
        expect(facts).to_have_count(turn, timeout=60_000)
        reply = page.locator("#conversation .bot-row:not(:has(.facts, .doubt)) .message").last
        expect(reply).to_contain_text(f"my {thing}")


def film(thing: Path, path: Path) -> None:
    """Write a film of a thing that is turned and moved, as a camera's file has it."""
    path.write_bytes(b"".join(frames(thing, 60, seed=0)))


def frames(thing: Path, count: int, seed: int) -> list[bytes]:
    """Draw a thing so often, turned, moved and lit otherwise each time, as JPEG."""
    chance, made = np.random.default_rng(seed), []
    drawn = Image.open(thing).convert("RGB")
    for _ in range(count):
        side = int(chance.integers(300, 440))
        frame = Image.new("RGB", (640, 480), tuple(map(int, chance.integers(190, 240, 3))))
        turned = drawn.resize((side, side)).rotate(chance.uniform(-15, 15), fillcolor="white")
        frame.paste(turned, tuple(map(int, chance.integers((0, 0), (640 - side, 480 - side)))))
        written = BytesIO()
        ImageEnhance.Brightness(frame).enhance(chance.uniform(0.8, 1.1)).save(written, "JPEG")
        made.append(written.getvalue())
    return made


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_the_chat_takes_a_picture_in_either_language(
    visit: Callable[..., Chat], locale: str
) -> None:
    chat = visit(locale=locale, permissions=["camera"])
    chat.page.locator("#camera").click()  # nothing else has to be pressed
    seen = "() => document.querySelector('#webcam video')?.videoWidth > 0"
    chat.page.wait_for_function(seen, timeout=60_000)
    take = chat.page.get_by_role("button", name=re.compile("^(capture photo|拍照)$"))
    take.locator("visible=true").last.click(timeout=40_000)
    expect(chat.page.locator("#box .thumbnail-item img")).to_be_visible(timeout=60_000)
