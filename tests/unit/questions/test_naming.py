"""What asks for a picture's name, in whatever words, with the shipped weights."""

import json
import shutil
from pathlib import Path

import pytest

from demo.errors import CheckpointError
from demo.questions.encoder import FOLDER, SentenceEncoder
from demo.questions.naming import FILE, NamingJudge, load_naming_judge

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def judge() -> NamingJudge:
    return load_naming_judge(SentenceEncoder())


@pytest.mark.parametrize(
    "text",
    [
        "What is this?",
        "name this",
        "Who or what is this?",
        "what is the subject of the picture?",
        "what's in the photo?",
        "tell me what you see in the photo",
        "What is it, please?",
        "  what is   shown here ",
    ],
)
def test_what_asks_for_a_name(judge: NamingJudge, text: str) -> None:
    assert judge.asks(text)


@pytest.mark.parametrize(
    "text",
    [
        "What animal is this?",
        "What kind of thing is it?",
        "What color is it?",
        "Is this a dog?",
        "Is it a dog or a cat?",
        "How many are there?",
        "Where is this?",
        "Who is this man?",
        "Who am I looking at?",
        "Who do you see?",
        "who's that",
        "What is written on it?",
        "What does it eat?",
        "What is the person doing?",
        "Describe this picture.",
        "Write a caption.",
        "Why is the sky blue?",
        "What is the capital of France?",
        "And what color is that?",
        "Tell me more.",
        "Are you sure?",
        "Hello!",
        "Thanks",
        "这是什么颜色?",
        "",
    ],
)
def test_what_does_not(judge: NamingJudge, text: str) -> None:
    assert not judge.asks(text)


@pytest.mark.parametrize(
    "kept",
    [{}, {"weights": [1.0], "bias": 0.0, "words": []}, {"weights": ["a"], "bias": 0, "words": []}],
)
def test_a_damaged_file_is_said(tmp_path: Path, kept: dict[str, object]) -> None:
    (tmp_path / FILE).write_text(json.dumps(kept))
    with pytest.raises(CheckpointError, match=r"naming\.json.*damaged"):
        load_naming_judge(SentenceEncoder(), tmp_path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Get the program again"):
        load_naming_judge(SentenceEncoder(), tmp_path)
    shutil.copy(FOLDER / FILE, tmp_path)
    assert load_naming_judge(SentenceEncoder(), tmp_path).words
