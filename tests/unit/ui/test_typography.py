"""Chinese punctuation is wide beside Chinese characters, and narrow in code."""

import pytest

from demo.ui.chinese import CHINESE
from demo.ui.typography import typeset, wide

COMMA, COLON, OPEN, CLOSE, ASKED = map(wide, ",:()?")


@pytest.mark.parametrize(
    ("written", "is_set"),
    [
        ("提问,或拖入", f"提问{COMMA}或拖入"),
        ("看点什么?", f"看点什么{ASKED}"),
        ("小模型(SmolLM2-135M),会", f"小模型{OPEN}SmolLM2-135M{CLOSE}{COMMA}会"),
        ("{count:,} 个例子", "{count:,} 个例子"),
        ("{name}:{count} 行", f"{{name}}{COLON}{{count}} 行"),
        ("用 `python app.py`,即可", f"用 `python app.py`{COMMA}即可"),
        ("{name}: {value}", "{name}: {value}"),
        ("共 1,000 个", "共 1,000 个"),
        ("如 question,answer。", "如 question,answer。"),
        ("“{name}”,但", f"“{{name}}”{COMMA}但"),
        ("arXiv 2303.16199: a (b), c", "arXiv 2303.16199: a (b), c"),
        ("LoRA {rank}", "LoRA {rank}"),
    ],
)
def test_marks_are_as_wide_as_what_they_stand_beside(written: str, is_set: str) -> None:
    assert typeset(written) == is_set
    assert typeset(is_set) == is_set


def test_the_page_and_what_deeper_layers_say_are_set() -> None:
    assert COMMA in CHINESE.message_hint
    assert COMMA in CHINESE.teach.intro
    assert COMMA in CHINESE.said(
        "The adapter needs a name of at most 100 characters, and a description of at most 500. "
        "Please change them."
    )
