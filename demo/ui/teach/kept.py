"""What the browser keeps of the tab "Teach", so that a reload takes neither rows nor settings.

The data that was chosen stays on the server (`demo/teaching/drafts.py`). What the browser sends
back is not believed: it is read here within bounds, and settings are checked where they are used.
"""

from dataclasses import dataclass
from typing import Any

from demo.errors import DemoError
from demo.finetune.train.config import PRESETS, TrainingOptions
from demo.teaching.typed_table import MOST_TYPED, is_picture_cell

LONGEST = 20_000  # characters of a kept text

# The page's part: nothing is kept before what was kept is back, and not more than has room there.
KEEP = """(kept, table, ...values) => {
    if (!window.studioRestored) return [kept];
    const rows = (table?.data ?? []).filter((row) => row.some(Boolean));
    const made = [rows, ...values];
    return [JSON.stringify(made).length < 2e6 ? made : [[], ...values]];
}"""
RESTORED = "() => { window.studioRestored = true; }"


@dataclass(frozen=True)
class KeptWork:
    """What a person had put into the tab.

    Attributes:
        rows: typed (question, reply, picture), in which something stands.
        name: of the adapter, "" for none.
        questions: to ask on the way.
        preset: None where fields were changed by hand.
        choices: None where the browser kept none that can be used.
    """

    rows: tuple[tuple[str, str, str], ...] = ()
    name: str = ""
    questions: str = ""
    preset: str | None = None
    choices: TrainingOptions | None = None

    @classmethod
    def read(cls, value: Any) -> "KeptWork":
        """Read what a browser kept; what is no such thing is nothing."""
        if not isinstance(value, list) or len(value) < 4:
            return cls()
        rows, name, questions, preset, *fields = value
        try:
            choices = TrainingOptions(*fields)
        except (DemoError, TypeError):
            choices = None
        return cls(
            _rows(rows),
            _text(name)[:100],
            _text(questions)[:2000],
            preset if isinstance(preset, str) and preset in PRESETS else None,
            choices,
        )


def _rows(value: Any) -> tuple[tuple[str, str, str], ...]:
    if not isinstance(value, list):
        return ()
    kept = [row for row in value[:MOST_TYPED] if isinstance(row, list) and len(row) in (2, 3)]
    rows = [
        (_text(question), _text(reply), "".join(filter(is_picture_cell, picture)))
        for question, reply, *picture in kept  # browsers have kept rows without pictures
    ]
    return tuple(row for row in rows if any(row))


def _text(value: Any) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""
