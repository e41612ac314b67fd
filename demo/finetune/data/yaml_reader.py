"""YAML of chatbots → the same values as JSON has them, so that one reader serves both.

Read are ChatterBot's corpora, lists of questions and answers, and Rasa's training data where a
reply is known for an intent. The parser's events are put together here: no tag is obeyed, every
value stays the text that stands there, an alias is refused, and nothing may be nested deeply.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from demo.errors import DataError
from demo.finetune.data.table import MAX_DEPTH, excerpt

MOST_EVENTS = 2_000_000  # of a file: some twenty seconds
NULLS = ("", "~", "null", "Null", "NULL")
KEY = r"""(?:[\w-]+|"(?:[^"\\]|\\.){0,200}"|'[^']{0,200}'):(?:\s|$)"""  # bare or quoted
PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the compiled one where there is one
ENTITY = re.compile(r"\[([^\]\n]{1,200})\](?:\([^)\n]{0,200}\)|\{[^}\n]{0,400}\})")
WANTED = "Please make a table of it, with the columns question and answer and one example a row."
LEFT = "{count} intents without examples, or without a reply"
NO_REPLIES = (
    "This file is Rasa's: it has examples of {what} and no reply to them. Please put `nlu`, "
    "`responses` and, if there are some, `rules` into one file; or make a table with the columns "
    "question and answer."
)


def is_yaml(text: str) -> bool:
    """Tell whether nearly all lines are keys with values, or items with a dash, or below one."""
    lines = [line for line in text[:20_000].splitlines() if line.strip()]
    marked = sum(bool(re.match(rf"\s*(?:-\s|{KEY}|#|---)|\s{{2,}}\S", x)) for x in lines)
    items = any(line.lstrip().startswith("- ") for line in lines)
    keys = any(re.match(rf"(?:-\s+)?{KEY}", line) for line in lines)
    return items and keys and marked * 10 > 9 * len(lines)


def yaml_as_json(text: str) -> str:
    """Return a file of YAML as JSON.

    Raises:
        DataError: it is no valid YAML, has aliases, is nested too deeply, or holds no replies.
    """
    try:
        value = _value(yaml.parse(text, Loader=PARSER))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise DataError(f"This file looks like YAML and cannot be read{where}. {WANTED}") from error
    if isinstance(value, dict) and ("nlu" in value or "stories" in value):
        value = _rasa(value)
    if not isinstance(value, dict | list):
        raise DataError(f"This file is YAML without any list in it. {WANTED}")
    return json.dumps(_talks(value), ensure_ascii=False)


def _value(events: Iterator[Any]) -> Any:
    """Put the events of the first document together, without recursion."""
    open_: list[tuple[Any, list[Any]]] = []  # containers, and the key that waits for its value
    done: Any = None
    for count, event in enumerate(events):
        if isinstance(event, yaml.AliasEvent):
            raise DataError(
                f"This YAML repeats a part by an alias, “*{excerpt(event.anchor)}”, which is not "
                f"read. {WANTED}"
            )
        if count > MOST_EVENTS or len(open_) > MAX_DEPTH:
            raise DataError(f"This YAML is too long, or nested too deeply. {WANTED}")
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            open_.append(({} if isinstance(event, yaml.MappingStartEvent) else [], []))
            continue
        if isinstance(event, yaml.ScalarEvent):
            value: Any = None if event.implicit[0] and event.value in NULLS else event.value
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            value = open_.pop()[0]
        elif isinstance(event, yaml.DocumentEndEvent):
            return done
        else:
            continue
        if not open_:
            done = value
        else:
            _put(*open_[-1], value)
    return done


def _put(container: Any, waiting: list[Any], value: Any) -> None:
    """Put a value into a list, or as key or value into an object."""
    if isinstance(container, list):
        container.append(value)
    elif not waiting:
        waiting.append(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    else:
        key = waiting.pop()
        if key in container:
            raise DataError(f"This YAML has “{excerpt(key)}” twice in one place. {WANTED}")
        container[key] = value


def _talks(value: Any) -> Any:
    """Join in lists of talks what a colon in a sentence has made an object."""
    if not isinstance(value, dict):
        return value
    joined = {}
    for name, items in value.items():
        if isinstance(items, list) and items and all(isinstance(item, list) for item in items):
            items = [[_said(text) for text in item] for item in items]
            items = [kept for item in items if (kept := [text for text in item if text])]
        joined[name] = items
    return joined


def _said(value: Any) -> Any:
    if isinstance(value, dict) and len(value) == 1:
        ((key, text),) = value.items()
        return f"{key}: {text}" if isinstance(text, str) else value
    return value


def _rasa(value: Mapping[str, Any]) -> dict[str, Any]:
    """Join the examples of Rasa's intents with the replies that are given to them."""
    replies = {name: _texts(given) for name, given in _mapping(value.get("responses")).items()}
    follows = dict(_followed(value))
    found: list[dict[str, Any]] = []
    left: list[str] = []
    for item in value.get("nlu") or []:
        if not isinstance(item, dict) or not isinstance(item.get("intent"), str):
            continue
        intent = item["intent"]
        named = (f"utter_{intent}", follows.get(intent, ""))
        texts = next((replies[name] for name in named if replies.get(name)), [])
        asked = [line.strip().removeprefix("- ") for line in _lines(item.get("examples"))]
        asked = [ENTITY.sub(r"\1", line) for line in asked if line]
        if texts and asked:
            found.append({"intent": intent, "patterns": asked, "responses": texts})
        else:
            left.append(intent)
    if not found:
        what = "what people say" if value.get("nlu") else "stories"
        raise DataError(NO_REPLIES.format(what=what))
    beside = {LEFT.format(count=len(left)): left} if left else {}
    return {**beside, "intents": found}


def _followed(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each intent that a rule or a story answers at once, and the name of the answer."""
    for part in ("stories", "rules"):
        for story in value.get(part) or []:
            steps = story.get("steps") if isinstance(story, dict) else None
            steps = [step for step in steps or [] if isinstance(step, dict)]
            for step, following in zip(steps, steps[1:], strict=False):
                said, done = step.get("intent"), following.get("action")
                if isinstance(said, str) and isinstance(done, str) and done.startswith("utter_"):
                    yield said, done


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(given: Any) -> list[str]:
    items = given if isinstance(given, list) else []
    found = (item.get("text") for item in items if isinstance(item, dict))
    return [text for text in found if isinstance(text, str) and "{" not in text]


def _lines(examples: Any) -> list[str]:
    """Give the examples of an intent: a block of text with dashes, or a list."""
    if isinstance(examples, str):
        return examples.splitlines()
    listed = examples if isinstance(examples, list) else []
    texts = (item.get("text") if isinstance(item, dict) else item for item in listed)
    return [text for text in texts if isinstance(text, str)]
