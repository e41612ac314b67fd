"""JSON that nests its rows: SQuAD's paragraphs, categories of an FAQ, self-instruct's instances.

What stands around a list of rows belongs to each of them: the text that questions are about, the
name of a category.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from demo.finetune.data.columns import recognise
from demo.finetune.data.conversation import is_turn
from demo.finetune.data.intents import is_intent

SHOWN = (".jpg", ".jpeg", ".png", ".webp", ".gif")
INSTANCES = "instances"  # self-instruct: several inputs and outputs of one instruction
CODE = re.compile(r"[a-z]{2}(?:[-_][A-Za-z]{2,4})?")  # of a language
DEEPEST = 4  # levels of lists in lists


def unfolded(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that an object holds in a list, each with what stands around it; or itself.

    Of two values with one name, the inner keeps it, and the other is called "outer …".
    """
    pair = value.get("translation")
    if isinstance(pair, dict) and _is_by_language(pair) and len(pair) > 1:  # as OPUS is published
        return [{**{k: v for k, v in value.items() if k != "translation"}, **pair}]
    if languages := _languages(value):
        return _by_language(value, languages)
    asked = value.get("question")
    if isinstance(asked, dict) and isinstance(asked.get("stem"), str):  # CommonsenseQA, ARC
        around = {key: _shared(inner) for key, inner in value.items() if key != "question"}
        inner = {"question" if key == "stem" else key: each for key, each in asked.items()}
        return [{**{f"outer {k}" if k in inner else k: v for k, v in around.items()}, **inner}]
    name = INSTANCES if _holds_objects(value.get(INSTANCES)) else _rows_in(value, DEEPEST)
    if name is None:
        return [dict(value)]
    around = {key: _shared(inner) for key, inner in value.items() if key != name}
    found = []
    for item in value[name]:
        renamed = {f"outer {key}" if key in item else key: inner for key, inner in around.items()}
        found += unfolded({**renamed, **item})
    return found or [around]


def _languages(value: Mapping[str, Any]) -> tuple[str, ...]:
    """Find the languages in which an object has its question and its reply, each by its code."""
    found = [tuple(inner) for inner in value.values() if _is_by_language(inner)]
    return found[0] if len(found) > 1 and len({frozenset(codes) for codes in found}) == 1 else ()


def _is_by_language(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(text, str) and CODE.fullmatch(key) for key, text in value.items())
    )


def _by_language(value: Mapping[str, Any], languages: tuple[str, ...]) -> list[dict[str, Any]]:
    """Make a row for each language."""
    spoken = {name for name, inner in value.items() if _is_by_language(inner)}
    return [
        {"language": code, **{n: v[code] if n in spoken else v for n, v in value.items()}}
        for code in languages
    ]


def pairs_of(members: Mapping[str, str]) -> list[dict[str, Any]]:
    """Make rows of an object that gives each question its reply, or each picture its captions.

    Of another object none are made.

    Args:
        members: the JSON of each value by its name.
    """
    if len(members) < 2 or not all(text[:1] in ('"', "[") for text in members.values()):
        return []
    if all(name.lower().endswith(SHOWN) for name in members):
        asked, replied = "image", "caption"
    elif sum(" " in name.strip() for name in members) * 10 >= 6 * len(members):
        asked, replied = "question", "answer"
    else:
        return []
    try:
        values = {name: json.loads(text) for name, text in members.items()}
    except ValueError:
        return []
    if not all(isinstance(v, str) or (asked == "image" and _is_said(v)) for v in values.values()):
        return []
    return [{asked: name, replied: value} for name, value in values.items()]


def grouped_pairs(members: Mapping[str, str]) -> list[dict[str, Any]]:
    """Make rows of an object of such objects: questions and replies by language, or by subject.

    Args:
        members: as in `pairs_of`.
    """
    if not members or not all(text[:1] == "{" for text in members.values()):
        return []
    group = "language" if all(map(CODE.fullmatch, members)) else "category"
    found = list[dict[str, Any]]()
    for name, text in members.items():
        try:
            inner = json.loads(text)
        except ValueError:
            return []
        pairs = pairs_of({key: json.dumps(value) for key, value in inner.items()})
        if not pairs:
            return []
        found += ({**pair, group: name} for pair in pairs)
    return found


def _is_said(value: Any) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and value != [] and all(isinstance(x, str) for x in value)


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
