"""What a message beside a picture is about."""

import json
import shutil

import pytest

from demo.chat.adapter_choice import LONGEST_QUESTION, points
from demo.errors import CheckpointError
from demo.questions.encoder import FOLDER, SentenceEncoder
from demo.questions.topic import FILE, TopicJudge, load_topic_judge


@pytest.fixture(scope="module")
def judge() -> TopicJudge:
    return load_topic_judge(SentenceEncoder())


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "Who wrote Hamlet?",
        "How many days are there in March?",
        "Write a short poem about the sea.",
        "what is 12 times 12",
        "Which language is spoken in Brazil?",
    ],
)
def test_what_is_clearly_about_something_else(judge: TopicJudge, text: str) -> None:
    assert not points(text) and judge.elsewhere(text)


@pytest.mark.parametrize(
    "text",
    [
        "What color is the car?",
        "How many people are there?",
        "name the animal",
        "Is there a dog?",
        "what breed",
        "Describe.",
        "Which fruit do you see?",
        "What is the man doing?",
        "hello",
        "Was ist das?",
        "object?",
        "Are the lights on?",
    ],
)
def test_the_rest_is_about_the_picture(judge: TopicJudge, text: str) -> None:
    assert not points(text) and not judge.elsewhere(text)


def test_what_points_is_about_the_picture() -> None:
    for text in (
        "What is it?",
        "and these",
        "Who is in the photo?",
        "What's he holding?",
        "And then?",
        "cat or dog?",
        "A cat or a dog",
    ):
        assert points(text)
    assert not points("Which is older, Rome or Athens?") and not points("Name a cat or dog breed.")
    assert not points("Who wrote Hamlet?") and not points("the theatre in Iceland")


def test_a_long_text_points_at_itself_unless_it_names_a_picture() -> None:
    text = "Fix this: " + "it is late and she has not come home yet. " * 10
    assert len(text) > LONGEST_QUESTION and not points(text)
    assert points(text + "Is that in the photo?") and points(text[:LONGEST_QUESTION])


def test_after_something_else_less_is_needed(judge: TopicJudge) -> None:
    asked = ("Who is the king of Spain?", "And of Germany?", "Which one is older, Rome or Paris?",
             "Give me another one.", "How far is Madrid?")  # fmt: skip
    first, then = (sum(judge.elsewhere(t, after) for t in asked) for after in (False, True))
    assert first <= then and then >= 3


def test_a_damaged_file_is_said_to_be_one(judge: TopicJudge, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_topic_judge(judge.encoder, tmp_path)
    shutil.copy(FOLDER / FILE, tmp_path)
    kept = json.loads((tmp_path / FILE).read_text("utf-8"))
    (tmp_path / FILE).write_text(json.dumps(kept | {"weights": kept["weights"][1:]}), "utf-8")
    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_topic_judge(judge.encoder, tmp_path)
