"""The file of one chat: its turns, and the paths through them that retries and edits have made.

    {"format": 1, "title": "", "system": "", "now": [1, 3], "paths": [[1, 2]], "dropped": 0,
     "unseen": 0, "turns": [{"number": 1, "text": "…", "reply": "…", …}]}

A turn stands once, however many paths go through it. A picture is a file beside it, small enough to
be quick and larger than any tower of ours looks.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demo.atomic_file import replace_file
from demo.chat.conversation import Conversation, ReplyStats, Turn
from demo.errors import DemoError, InputError
from demo.vision.image import Picture, open_picture, thumbnail
from demo.vision.video import Video, VisualInput

FILE = "chat.json"
FORMAT = 1
SIDE = 768  # pixels of a kept picture
GONE = "This chat is not here: it was deleted, or is another browser's."
UNREADABLE = "This chat can no longer be read: its file is damaged. Delete it, or begin a new one."


def write_chat(path: Path, conversation: Conversation, names: MutableMapping[str, str]) -> None:
    """Write a conversation to `path`, and its pictures beside it, each unless it is there.

    Args:
        path: of its file.
        conversation: what is kept.
        names: files of pictures by digest, which spares writing them once more.
    """
    paths = [conversation.turns, *conversation.paths]
    # The present path comes last: its turns are the newest state of those that several share.
    turns = {turn.number: turn for path in reversed(paths) for turn in path}
    record: dict[str, Any] = {
        "format": FORMAT,
        "title": conversation.title,
        "system": conversation.system,
        "now": [turn.number for turn in conversation.turns],
        "paths": [[turn.number for turn in path] for path in conversation.paths],
        "dropped": conversation.dropped,
        "unseen": conversation.unseen,
        "turns": [_record(turns[number], path.parent, names) for number in sorted(turns)],
    }
    with replace_file(path) as unfinished:
        unfinished.write_text(json.dumps(record, ensure_ascii=False), "utf-8")
    used = {name for turn in record["turns"] for name in turn.get("pictures", ())}
    for old in path.parent.glob("*.webp"):
        if old.name not in used:
            old.unlink(missing_ok=True)


def read_chat(path: Path, conversation: Conversation) -> None:
    """Fill an empty conversation with a kept one.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    record = _load(path)
    try:
        shown: dict[str, Picture] = {}
        turns = {entry["number"]: _turn(entry, path.parent, shown) for entry in record["turns"]}
        ways = [tuple(turns[number] for number in way) for way in record["paths"]]
        now = tuple(turns[number] for number in record["now"])
        conversation.restore(
            now, tuple(ways), dropped=int(record["dropped"]), unseen=int(record["unseen"])
        )
        conversation.title = str(record["title"])
        conversation.set_system(str(record["system"]))
    except (KeyError, TypeError, ValueError, DemoError) as error:
        raise InputError(UNREADABLE) from error


def read_summary(path: Path) -> tuple[str, int]:
    """Give a kept chat's title, and how many pictures were sent in it.

    Raises:
        InputError: as `read_chat`.
    """
    record = _load(path)
    try:
        turns = {entry["number"]: entry for entry in record["turns"]}
        way = [turns[number] for number in record["now"]] or [record["turns"][0]]
        title = str(record["title"]) or " ".join(str(way[0]["text"]).split())
        return title, sum("pictures" in turn for turn in way)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(UNREADABLE) from error


def read_words(path: Path) -> str:
    """Give all that was asked and said in a kept chat; "" where it cannot be read."""
    try:
        turns = _load(path)["turns"]
        return "\n".join(f"{turn['text']}\n{turn['reply']}" for turn in turns)
    except (KeyError, TypeError, InputError):
        return ""


def _load(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(GONE) from None
    except (OSError, ValueError) as error:
        raise InputError(UNREADABLE) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(UNREADABLE)
    return record


def _record(turn: Turn, folder: Path, names: MutableMapping[str, str]) -> dict[str, Any]:
    record: dict[str, Any] = {"number": turn.number, "text": turn.text, "reply": turn.reply}
    record |= {name: True for name in ("liked", "corrected", "unfamiliar") if getattr(turn, name)}
    if turn.stats:
        record["stats"] = asdict(turn.stats)
    if isinstance(turn.picture, Video):
        video = turn.picture
        record["video"] = {"seconds": video.seconds, "length": video.length, "cut": video.cut}
        record["pictures"] = [_kept(frame, folder, names) for frame in video.frames]
    elif turn.picture:
        record["pictures"] = [_kept(turn.picture, folder, names)]
    return record


def _turn(record: dict[str, Any], folder: Path, shown: dict[str, Picture]) -> Turn:
    frames = [_opened(folder, str(name), shown) for name in record.get("pictures", ())]
    picture: VisualInput | None = frames[0] if frames else None
    if "video" in record:
        video = record["video"]
        seconds = tuple(map(float, video["seconds"]))
        picture = Video(tuple(frames), seconds, float(video["length"]), bool(video["cut"]))
    return Turn(
        text=str(record["text"]),
        picture=picture,
        reply=str(record["reply"]),
        stats=ReplyStats(**record["stats"]) if "stats" in record else None,
        liked="liked" in record,
        corrected="corrected" in record,
        unfamiliar="unfamiliar" in record,
        number=int(record["number"]),
    )


def _kept(picture: Picture, folder: Path, names: MutableMapping[str, str]) -> str:
    """Write a picture beside a chat, unless it is there; return its file's name.

    That is the digest of what the file shows, so one that was opened again is known again.
    """
    name = names.get(picture.digest) or _name(picture)
    if not (folder / name).exists():
        data = thumbnail(picture, SIDE)
        name = names[picture.digest] = _name(open_picture(data))
        with replace_file(folder / name) as unfinished:
            unfinished.write_bytes(data)
    return name


def _name(picture: Picture) -> str:
    return f"{picture.digest[:32]}.webp"


def _opened(folder: Path, name: str, shown: dict[str, Picture]) -> Picture:
    if name not in shown:
        # Only a name is believed, never a path.
        shown[name] = open_picture(folder / Path(name).name)
    return shown[name]
