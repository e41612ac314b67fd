"""Questions that need something to look at, and those that only speak of pictures."""

from dataclasses import replace

import numpy as np
import pytest

from demo.chat.conversation import Conversation, Turn
from demo.chat.picture_question import (
    NOTHING_SHOWN,
    asks_about_picture,
    asks_about_thing,
    refuse_unshown,
)
from demo.errors import InputError
from demo.vision.image import Picture

POINTS = [
    "What is in this picture?",
    "what's in the picture",
    "Please describe the photo in a sentence.",
    "Write a caption for this image",
    "What do you see?",
    "Is there a dog in the picture?",
    "How many people are in this photo?",
    "What color is the car in the photo?",
    "Is this photo black and white?",
    "Look at this picture. What is it?",
    "What happens in this video?",
]
POINTS_AT_A_THING = [
    "What is this?",
    "whats this",  # codespell:ignore whats
    "name this",
    "pls name this thing",
    "What animal is that?",
    "which kind of bird is it",
    "what am i looking at",
    "Can you identify this plant, please?",
    "What is this animal called?",
    "Tell me what this is.",
    "Is this a dog?",
    "is that an old church",
    "Are these apples?",
    "Is this bird alive?",
    "What colour is it?",
    "How many people do you see?",
]
SPEAKS_OF_THINGS = [
    "What is this app?",
    "What is it like to be a bat?",
    "What is that called when you forget a word?",
    "What day is it?",
    "Name this year's winner.",
    "Who is the president?",
    "Describe a cat.",
    "What animal is the fastest?",
    "what is this about",
    "Explain this: 2 + 2 = 4",
    "Which fish is this recipe made with?",
    "Is this a joke?",
    "Is this a real person?",
    "Is it raining?",
    "Is that a good idea?",
    "Are these questions hard?",
    "Is this free?",
    "What colour is the sky?",
    "How many legs has a spider?",
]
SPEAKS = [
    "What is the capital of France?",
    "Who wrote The Picture of Dorian Gray?",
    "How do I take a good photo?",
    "What file formats are used for images on the web?",
    "Describe the picture that you would paint of spring.",
    "what do you see as the biggest problem of our time?",
    "Is it raining? " * 20 + "What is in this picture?",
]


@pytest.mark.parametrize("text", POINTS)
def test_it_points_at_a_picture(text: str) -> None:
    assert asks_about_picture(text)
    with pytest.raises(InputError, match="No picture is attached"):
        refuse_unshown(text, Conversation(), "auto")


@pytest.mark.parametrize("text", SPEAKS)
def test_it_only_speaks_of_pictures(text: str) -> None:
    assert not asks_about_picture(text)


@pytest.mark.parametrize("text", POINTS_AT_A_THING)
def test_a_chat_that_begins_by_pointing_at_a_thing_needs_a_picture(text: str) -> None:
    with pytest.raises(InputError, match="No picture is attached"):
        refuse_unshown(text, Conversation(), "auto")
    told = Conversation()
    told.turns = (Turn("Which animal do you like?", reply="The otter."),)
    refuse_unshown(text, told, "auto")  # it may be the otter


@pytest.mark.parametrize("text", SPEAKS_OF_THINGS + SPEAKS)
def test_a_chat_that_begins_otherwise_needs_none(text: str) -> None:
    assert not asks_about_thing(text)


def test_what_is_shown_spoken_of_or_known_to_an_adapter_is_not_refused() -> None:
    refuse_unshown(POINTS[0], Conversation(), "museum")
    shown = Conversation()
    shown.ask("", Picture(np.zeros((2, 2, 3), np.uint8)))
    refuse_unshown(POINTS[0], shown, "auto")
    told = Conversation()
    told.turns = (Turn("Tell me about the Mona Lisa.", reply="It is a painting of a woman."),)
    refuse_unshown("Who is in the picture?", told, "none")
    told.turns = (replace(told.turns[0], reply="It hangs in Paris."),)
    with pytest.raises(InputError) as refused:
        refuse_unshown("Who is in the picture?", told, "none")
    assert str(refused.value) == NOTHING_SHOWN
