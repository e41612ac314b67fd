"""The same question with a picture, blurred, swapped and removed, and what cannot be asked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.chat.conversation import ReplyStats
from demo.errors import ImageError, InputError, NotReadyError
from demo.recipes import counterfactual
from demo.recipes.counterfactual import Answer, another, asker, blurred, compare, rows
from demo.replies import Reply
from demo.vision.familiar import with_doubt
from demo.vision.media import Picture, open_picture


def flat(*colour: int) -> Picture:
    return Picture(np.full((9, 31, 3), colour, np.uint8))


RED, BLUE = flat(255, 0, 0), flat(0, 0, 255)


def reply(text: str, adapter: str = "seer") -> Reply:
    return Reply(text, done=True, stats=ReplyStats(adapter, True, 3, 2, 0.1, 9.0, "end"))


class Program:
    """A runtime that names a picture's strongest colour."""

    def __init__(self, *_: object) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.closed = False

    def start(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def answer(self, message, picture, *, adapter, system, sampling):
        assert (system, sampling.temperature) == ("", 0)
        self.asked.append((adapter, picture is not None))
        yield Reply(waiting="Loading")
        colour = (
            "nothing" if picture is None else ("red", "green", "blue")[picture.rgb[0, 0].argmax()]
        )
        yield reply(f"It is {colour}.")


def test_four_answers_by_the_adapter_that_saw_the_picture():
    program = Program()
    found = list(compare(asker(program), "What is it?", RED, ("sky.png", BLUE)))
    assert found == [
        Answer("the picture", "It is red.", True),
        Answer("blurred", "It is red.", True),
        Answer("swapped for sky.png", "It is blue.", False),
        Answer("removed", "It is nothing.", False),
    ]
    seer = [("seer", True), ("seer", True), ("seer", False)]
    assert program.asked == [("auto", True), *seer]


def test_the_towers_doubt_is_no_other_answer():
    told = iter(["It is red.", with_doubt("It is red."), "It is red.", "It is blue."])
    ask = lambda question, picture, adapter: reply(next(told))  # noqa: E731
    found = list(compare(ask, "What is it?", RED, ("sky.png", BLUE)))
    assert [answer.same for answer in found] == [True, True, True, False]
    assert found[1].reply == with_doubt("It is red.")


def test_a_reply_that_breaks_off_is_an_error():
    class Broken(Program):
        def answer(self, *arguments, **options):
            yield Reply("It")

    with pytest.raises(NotReadyError, match="broke off"):
        asker(Broken())("What?", RED, "auto")


def test_blurring_keeps_size_and_colours_and_no_outline():
    rgb = np.zeros((50, 81, 3), np.uint8)
    rgb[:, ::2] = 255
    soft = blurred(Picture(rgb))
    assert soft.rgb.shape == rgb.shape
    inner = soft.rgb[:, 35:45].astype(float)  # an edge is carried on beyond the picture
    assert inner.std() < 2 and abs(inner.mean() - 127) < 5
    assert blurred(flat(1, 2, 3)) == flat(1, 2, 3)
    assert blurred(Picture(np.zeros((1, 1, 3), np.uint8))).rgb.shape == (1, 1, 3)


def test_the_other_picture_is_not_the_same(tmp_path):
    for name, picture in (("a", RED), ("b", BLUE)):
        Image.fromarray(picture.rgb).save(tmp_path / f"{name}.png")
    assert another(RED, tmp_path).name == "b.png"
    assert another(BLUE, tmp_path).name == "a.png"
    assert open_picture(another(RED)) != RED
    (tmp_path / "b.png").unlink()
    with pytest.raises(InputError, match="Give one with --other"):
        another(RED, tmp_path)


def test_long_replies_are_folded():
    table = rows(Answer("removed", "so many words\n\n" * 20, False), 12)
    first, *more = table.splitlines()
    assert first.startswith("removed       ≠  so many")
    assert more and all(line.startswith(" " * 17 + "so") or line[17:] for line in more)
    assert rows(Answer("removed", "", True), 7) == "removed  =  (nothing)"


def test_the_command_prints_a_table(tmp_path, monkeypatch, capsys):
    program = Program()
    monkeypatch.setattr(counterfactual, "Runtime", lambda settings: program)
    Image.fromarray(RED.rgb).save(tmp_path / "a.png")
    Image.fromarray(BLUE.rgb).save(tmp_path / "b.png")
    counterfactual.main([str(tmp_path / "a.png"), "What?", "--other", str(tmp_path / "b.png")])
    told = capsys.readouterr().out
    assert "swapped for b.png  ≠  It is blue." in told
    assert "removed            ≠  It is nothing." in told
    assert program.closed


@pytest.mark.parametrize(
    ("name", "question", "message"),
    [
        ("none.png", "What?", "none.png: The picture cannot be read"),
        ("text.png", "What?", "text.png: This file is"),
        ("a.png", "  ", "The question is empty"),
    ],
)
def test_what_cannot_be_asked_is_explained(tmp_path, capsys, name, question, message):
    Image.fromarray(RED.rgb).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(SystemExit) as told:
        counterfactual.main([str(tmp_path / name), question])
    assert told.value.code == 1
    assert message in capsys.readouterr().err
    if name != "a.png":
        with pytest.raises(ImageError, match=name):
            counterfactual.named_picture(Path(tmp_path / name))
