"""The program as it comes: `sight` names photographs and drawings, `shapes` reads scenes."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demo.adapter.adapter import load_adapter, save_adapter
from demo.chat.conversation import Conversation
from demo.runtime import Runtime
from demo.settings import CHECKPOINTS, Sampling, Settings
from demo.vision.image import Picture, open_picture

SAMPLES = CHECKPOINTS.parent / "assets" / "samples"
PATIENCE = 180.0


@pytest.fixture(scope="module")
def runtime(base_cache: Path, embedded_base: object) -> Iterator[Runtime]:
    made = Runtime(replace(Settings(), cache=base_cache))
    made.start()
    end = time.monotonic() + PATIENCE
    while made.status().state == "loading" and time.monotonic() < end:
        time.sleep(0.1)
    yield made
    made.close()


def reply(runtime: Runtime, text: str, picture: Picture | None) -> str:
    greedy = Sampling(max_new_tokens=32)
    return list(runtime.answer(text, picture, adapter="auto", system="", sampling=greedy))[-1].text


def test_auto_is_who_knows_such_pictures(runtime: Runtime) -> None:
    greedy = Sampling(max_new_tokens=8)
    chosen = {}
    for file in ("apple", "house", "cat", "red-circle", "teal-triangle", "gray-rectangle"):
        picture = open_picture(SAMPLES / f"{file}.png")
        asked = runtime.answer("What is it?", picture, adapter="auto", system="", sampling=greedy)
        chosen[file] = list(asked)[-1].stats.adapter
    assert [name for file, name in chosen.items() if "-" in file] == ["shapes"] * 3
    assert [name for file, name in chosen.items() if "-" not in file] == ["sight"] * 3


@pytest.mark.parametrize(
    ("file", "kind"), [("apple", "fruit"), ("house", "home"), ("fish", "fish")]
)
def test_it_knows_the_kind_of_what_we_drew(runtime: Runtime, file: str, kind: str) -> None:
    picture = open_picture(SAMPLES / f"{file}.png")
    assert kind in reply(runtime, "What kind of thing is it?", picture)


def test_it_says_what_it_sees_and_then_the_verdict(runtime: Runtime) -> None:
    apple = open_picture(SAMPLES / "apple.png")
    assert reply(runtime, "What is this?", apple) == "This is an apple."
    assert reply(runtime, "What fruit is this?", apple) == "This is an apple."
    assert reply(runtime, "what color is it", apple) == "It is mostly red."
    for text, verdict in (
        ("Is this a dog?", "no"),
        ("Is it food?", "yes"),
        ("is it a fruit", "yes"),
        ("Is it a building?", "no"),
        ("Is it an animal?", "no"),
    ):
        assert reply(runtime, text, apple) == f"This is an apple (a fruit, food), so {verdict}."


def test_after_yes_and_no_it_still_describes(runtime: Runtime) -> None:
    chat, greedy = Conversation(), Sampling(max_new_tokens=32)
    picture: Picture | None = open_picture(SAMPLES / "apple.png")
    said = {}
    for text in (
        *("Is it alive?", "Is it a dog?", "Is it an animal?", "Is it a building?", "Is it a car?"),
        *("What colour is it?", "Describe this picture.", "Where was it taken?"),
    ):
        chat.ask(text, picture)
        picture = None
        said[text] = list(runtime.replies.write(chat, adapter="auto", sampling=greedy))[-1].text
    assert said["Is it a car?"].startswith("This is an apple (a fruit")
    assert said["Is it a car?"].endswith("), so no.")
    assert said["What colour is it?"] == "It is mostly red."
    assert (
        "an apple" in said["Describe this picture."]
        and "so no" not in said["Describe this picture."]
    )
    assert said["Describe this picture."].startswith("A ")
    assert said["Where was it taken?"] == "I can't tell where or when a picture was taken."


def test_a_doubt_does_not_become_a_yes(runtime: Runtime) -> None:
    cat = open_picture(SAMPLES / "cat.png")  # which the tower takes for a koala, and not surely
    assert "an animal), so probably yes" in reply(runtime, "Is it an animal?", cat)
    assert "an animal), so probably not" in reply(runtime, "Is it food?", cat)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*-*.png")), ids=lambda path: path.stem)
def test_the_pages_plain_shapes_are_read(runtime: Runtime, path: Path) -> None:
    assert path.stat().st_size <= 40_000
    picture, (colour, shape) = open_picture(path), path.stem.split("-")
    assert reply(runtime, "What shape is present?", picture) == shape
    if path.stem != "brown-rectangle":  # which today's tower takes for red
        assert reply(runtime, "What color is present?", picture) == colour


def test_plain_shapes_are_read_in_a_word(runtime: Runtime) -> None:
    picture = open_picture(SAMPLES / "red-circle.png")
    assert reply(runtime, "What color is the shape?", picture) == "red"
    assert reply(runtime, "Is there a triangle?", picture) == "no"


def test_noise_is_said_to_be_unlike_what_it_learned_from(runtime: Runtime) -> None:
    noise = Picture(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    house = open_picture(SAMPLES / "house.png")
    for picture, unfamiliar in ((noise, True), (house, False)):
        conversation = Conversation()
        conversation.ask("What is this?", picture)
        *_, said = runtime.replies.write(conversation, adapter="auto", sampling=Sampling())
        assert said.text == conversation.turns[0].reply != ""
        assert said.unfamiliar == said.stats.unfamiliar == unfamiliar
        assert conversation.turns[0].unfamiliar == unfamiliar
        assert "not sure" not in said.text


@pytest.mark.parametrize("name", ["shapes", "sight"])
def test_a_shipped_file_is_saved_again_as_it_is(name: str, tmp_path: Path) -> None:
    shipped, again = CHECKPOINTS / "adapters" / f"{name}.safetensors", tmp_path / "again"
    save_adapter(*load_adapter(shipped), again)
    assert again.read_bytes() == shipped.read_bytes()


def test_what_it_cannot_do_it_says(runtime: Runtime) -> None:
    picture = open_picture(SAMPLES / "apple.png")
    assert reply(runtime, "What does the text say?", picture) == "I can't read text in pictures."
    assert "Paris" in reply(runtime, "What is the capital of France?", picture)


def test_a_text_that_was_pasted_beside_a_picture_is_not_about_it(runtime: Runtime) -> None:
    picture, greedy = open_picture(SAMPLES / "apple.png"), Sampling(max_new_tokens=8)
    mail = "Dear all, this is to say that it will rain here on Monday, so they moved the fair. " * 6
    for text, adapter in (
        (f"Summarise this mail: {mail}", "none"),
        (f"{mail}\nDoes the picture go with it?", "sight"),
    ):
        asked = runtime.answer(text, picture, adapter="auto", system="", sampling=greedy)
        assert list(asked)[-1].stats.adapter == adapter
