"""What a browser says it kept of the tab "Teach"."""

from typing import Any

import pytest

from demo.finetune.train.config import TrainingOptions
from demo.teaching.typed_table import MOST_TYPED, picture_cell
from demo.ui.teach.kept import LONGEST, KeptWork
from demo.vision.image import Picture

FIELDS = list(vars(TrainingOptions(steps=7)).values())


def test_what_was_put_into_the_tab_comes_back(picture: Picture) -> None:
    cell = picture_cell("0" * 32, picture, "cat.png")
    rows = [["When?", "At noon."], ["", "", ""], ["Where?", "", "<img>"], ["Who?", "", cell]]
    work = KeptWork.read([rows, "clock", "Which?", "taste", *FIELDS])
    seen = ("When?", "At noon.", ""), ("Where?", "", ""), ("Who?", "", cell)
    assert work.rows == seen
    assert (work.name, work.questions, work.preset) == ("clock", "Which?", "taste")
    assert work.choices == TrainingOptions(steps=7)
    assert KeptWork.read([[], None, None, None]).preset is None


@pytest.mark.parametrize("wrong", [None, "x", 5, {}, [], [1], [{"a": 1}, [], {}, 7, "x"]])
def test_what_nobody_kept_is_nothing(wrong: Any) -> None:
    assert KeptWork.read(wrong) == KeptWork()


def test_what_is_kept_is_bounded() -> None:
    work = KeptWork.read([[["a" * 10**6, "b"]] * 10**4, "n" * 500, "q" * 10**5, "gone", *FIELDS])
    assert len(work.rows) == MOST_TYPED and len(work.rows[0][0]) == LONGEST
    assert len(work.name) == 100 and len(work.questions) == 2000 and work.preset is None
