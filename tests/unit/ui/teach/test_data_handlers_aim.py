"""What is taught is guessed, shown, and may be corrected: the other fields follow."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from demo.finetune.train.config import PRESETS, TrainingOptions, presets
from demo.ui.strings import ENGLISH
from demo.ui.teach.data_handlers import DataHandlers

FIELDS = tuple(vars(TrainingOptions()))
ROWS = 15


@pytest.fixture
def handlers() -> DataHandlers:
    drafts = SimpleNamespace(pictures=lambda visitor: False, rows_to_learn=lambda visitor: ROWS)
    settings = SimpleNamespace(fields=FIELDS, aim="aim")
    view: Any = SimpleNamespace(data=None, settings=settings)
    runtime: Any = SimpleNamespace(teaching=SimpleNamespace(drafts=drafts))
    return DataHandlers(runtime, view, None, ENGLISH)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_that_for_what_is_taught(handlers, name):
    facts = presets(pictures=False, aim="facts", rows=ROWS)[name]
    assert handlers.preset("v", name, "facts") == vars(facts)
    assert handlers.preset("v", name, "style") == vars(replace(PRESETS[name], aim="style"))
    style = vars(replace(PRESETS[name], aim="facts")).values()  # the radio was just changed
    assert handlers.aimed("v", *style) == vars(facts)
    back = vars(replace(facts, aim="task")).values()
    assert handlers.aimed("v", *back) == vars(replace(PRESETS[name], aim="task"))


def test_what_was_set_by_hand_stays(handlers):
    by_hand = TrainingOptions(steps=7, aim="facts")
    assert handlers.aimed("v", *vars(by_hand).values()) == vars(by_hand)
