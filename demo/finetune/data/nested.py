"""JSON that nests its rows: SQuAD's paragraphs, categories of an FAQ, self-instruct's instances.

What stands around a list of rows belongs to each of them: the text that questions are about, the
name of a category.
"""

import json
from collections.abc import Mapping
from typing import Any

from demo.finetune.data.columns import recognise
from demo.finetune.data.conversation import is_turn
from demo.finetune.data.intents import is_intent

INSTANCES = "instances"  # self-instruct: several inputs and outputs of one instruction
DEEPEST = 4  # levels of lists in lists


def unfolded(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that an object holds in a list, each with what stands around it; or itself.

    Of two values with one name, the inner keeps it, and the other is called "outer …".
    """
    name = INSTANCES if _holds_objects(value.get(INSTANCES)) else _rows_in(value, DEEPEST)
    if name is None:
        return [dict(value)]
    around = {key: _shared(inner) for key, inner in value.items() if key != name}
    found = []
    for item in value[name]:
        renamed = {f"outer {key}" if key in item else key: inner for key, inner in around.items()}
        found += unfolded({**renamed, **item})
    return found or [around]


def is_row(value: Any, levels: int = DEEPEST) -> bool:
    """Tell whether an object is a row that can be taught, an intent, or holds such in a list."""
    if not isinstance(value, dict) or is_turn(value):
        return False
    known = recognise(list(value)) is not None or is_intent(value)
    return known or _rows_in(value, levels) is not None


def talk_of(value: Any) -> list[dict[str, str]] | None:
    """Read a list of texts as turns: the user begins; None for anything else."""
    if not isinstance(value, list) or len(value) < 2:
        return None
    if not all(isinstance(item, str) and not item.isdecimal() for item in value):
        return None
    roles = ("user", "assistant")
    return [{"role": roles[at % 2], "content": str(text)} for at, text in enumerate(value)]


def _rows_in(value: Mapping[str, Any], levels: int) -> str | None:
    """Find the one list of rows in an object that is no row itself."""
    lists = [name for name, inner in value.items() if _holds_objects(inner)]
    if not lists or not levels or recognise(list(value)) is not None or is_intent(value):
        return None
    found = [name for name in lists if is_row(value[name][0], levels - 1)]
    return found[0] if len(found) == 1 else None


def _holds_objects(value: Any) -> bool:
    """Whether a value is a list of objects that are no turns."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and not is_turn(item) for item in value)
    )


def _shared(value: Any) -> Any:
    """Write a structure once as text, however many rows it stands around."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
