"""A chat as a file for its owner: Markdown to read, JSON to go on with.

Every question and reply stands in it byte for byte; pictures are inside, so one file is all.
"""

import base64
import json
from typing import Any

from demo.chat.conversation import Conversation, Turn
from demo.vision.image import thumbnail
from demo.vision.video import Video

SIDE = 512  # pixels of a picture in the file


def as_markdown(conversation: Conversation, title: str, words: tuple[str, str, str]) -> str:
    """Write what is on the page as Markdown.

    Args:
        conversation: whose present path is written.
        title: its heading.
        words: for whoever asks, for whoever replies, and for a picture.
    """
    asks, replies, picture = words
    parts = [f"# {title}"]
    for turn in conversation.turns:
        parts.append(f"**{asks}**")
        parts += [f"![{picture}]({source})" for source in _pictures(turn)]
        parts.append(turn.text)
        if turn.reply:
            adapter = turn.stats.adapter if turn.stats else "none"
            parts.append(f"**{replies}**" + ("" if adapter == "none" else f" ({adapter})"))
            parts.append(turn.reply)
    return "\n\n".join(parts) + "\n"


def as_json(conversation: Conversation, title: str) -> str:
    """Write what is on the page, and all versions of each turn, as JSON."""
    turns = [
        _record(turn) | {"versions": [_record(v) for v in conversation.versions(index)]}
        for index, turn in enumerate(conversation.turns)
    ]
    record = {"title": title, "system": conversation.system, "turns": turns}
    return json.dumps(record, ensure_ascii=False, indent=2) + "\n"


def _record(turn: Turn) -> dict[str, Any]:
    record: dict[str, Any] = {"question": turn.text, "reply": turn.reply}
    if turn.stats:
        record["adapter"] = turn.stats.adapter
    if turn.corrected:
        record["corrected"] = True
    if turn.picture:
        record["pictures"] = _pictures(turn)
    return record


def _pictures(turn: Turn) -> list[str]:
    if turn.picture is None:
        return []
    frames = turn.picture.frames if isinstance(turn.picture, Video) else (turn.picture,)
    data = [base64.b64encode(thumbnail(frame, SIDE)).decode("ascii") for frame in frames]
    return [f"data:image/webp;base64,{text}" for text in data]
