"""The export of a Dialogflow agent: `intents/NAME.json` holds the replies, and beside it
`NAME_usersays_en.json` what people say → intents with their ways to ask, as JSON.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from demo.errors import DataError

SAID = re.compile(r"(.*)_usersays_([A-Za-z]{2,3}(?:-[A-Za-z]{2,4})?)\.json", re.DOTALL)
FILLED = re.compile(r"(?<!\w)[$#][A-Za-z_][\w.-]*")  # what the agent puts in when it speaks
ALONE = (
    "This is one file of a Dialogflow agent. What people say and what is replied stand in two "
    "files, so please use the whole export, the zip with the folder intents."
)
LEFT = "{count} intents without phrases, or without a text to reply with"
NOTHING = (
    "No intent of this Dialogflow agent has both phrases and a text to reply with: its replies "
    "come from a program, or are made of what people say. Please write a table with the columns "
    "question and answer."
)


def is_export(names: Collection[str]) -> bool:
    """Tell whether a zip or a folder with these files is an agent's export."""
    return any("intents/" in f"/{name}" and SAID.fullmatch(name) for name in names)


def is_part(columns: Collection[str]) -> bool:
    """Tell whether a table with these columns is one file of an export."""
    return {"data", "isTemplate"} <= set(columns) or {"responses", "webhookUsed"} <= set(columns)


def read_export(names: Collection[str], read: Callable[[str], bytes]) -> bytes:
    """Join what people say with what is replied to it, in each language, as a list in JSON.

    Intents without phrases or without a text, and replies that the agent completes, are left out.

    Args:
        names: of the files.
        read: gives the bytes of one of them.

    Raises:
        DataError: no intent has both.
    """
    found: list[dict[str, Any]] = []
    intents = {name for name in names if name.rpartition("/")[0].endswith("intents")}
    intents = {name for name in intents if name.endswith(".json") and not SAID.fullmatch(name)}
    for name in sorted(names):
        match = SAID.fullmatch(name)
        intent = f"{match[1]}.json" if match else ""
        if match is None or intent not in names:
            continue
        asked = [text for phrase in _listed(read(name)) if (text := _phrase(phrase))]
        replies = list(dict.fromkeys(_replies(_object(read(intent)), match[2])))
        if asked and replies:
            title = match[1].rpartition("/")[2]
            intents.discard(intent)
            found.append({"intent": title, "patterns": asked, "responses": replies})
    if not found:
        raise DataError(NOTHING)
    beside = {LEFT.format(count=len(intents)): sorted(intents)} if intents else {}
    return json.dumps({**beside, "intents": found}, ensure_ascii=False).encode()


def _phrase(phrase: Any) -> str:
    """Join the parts of a phrase, between which its parameters stand marked."""
    parts = phrase.get("data") if isinstance(phrase, dict) else None
    texts = [part.get("text") for part in parts or [] if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str)).strip()


def _replies(intent: dict[str, Any], language: str) -> Iterator[str]:
    """Yield the texts with which an intent replies in a language."""
    for response in _all(intent.get("responses")):
        for message in _all(response.get("messages")):
            if message.get("lang", language) != language or str(message.get("type", 0)) != "0":
                continue
            speech = message.get("speech")
            for text in speech if isinstance(speech, list) else [speech]:
                if isinstance(text, str) and text.strip() and not FILLED.search(text):
                    yield text


def _all(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _listed(data: bytes) -> list[Any]:
    value = _loaded(data)
    return value if isinstance(value, list) else []


def _object(data: bytes) -> dict[str, Any]:
    value = _loaded(data)
    return value if isinstance(value, dict) else {}
