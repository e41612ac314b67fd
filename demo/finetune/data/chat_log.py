"""What messengers export, each message with its time and sender → a table of conversations.

WhatsApp writes `[12/03/2024, 09:15:22] Anna: …` on one kind of phone and
`12/03/24, 9:15 am - Anna: …` on the other; dates and clocks differ by country. A line that does not
begin so goes on with the message before it. Telegram exports a chat as JSON, DiscordChatExporter a
channel, Instagram and Messenger what they keep of one: objects in `messages`, with `from` and
`text`, `author` and `content`, or `sender_name` and `content`.
"""

import json
import re
from collections import Counter
from typing import Any, NamedTuple

from demo.errors import DataError
from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder, excerpt
from demo.finetune.data.transcript import NOTE

STAMP = re.compile(
    r"[\u200e\u200f\u202a-\u202e]*\[?(\d{1,4}[./-]\d{1,2}[./-]\d{1,4}),?\s+"
    r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s?[AaPp]\.?\s?[Mm]\.?)?(?:\]|\s+[-–])\s+(.*)"
)
SENDER = re.compile(r"([^:\n]{1,60}?):(?:\s+(.*))?")
# No words of a person: pictures that were left out, calls, deleted messages.
EMPTY = re.compile(r"\u200e.*|<[^<>]{3,60}>|(?:this message was|you) deleted.*", re.IGNORECASE)
# How Telegram's, DiscordChatExporter's and Meta's JSON begins, and Telegram's of all chats.
EXPORTED = re.compile(
    r'\s*\{(?:(?!"messages").){0,4000}?"(?:'
    r'type"\s*:\s*"(?:personal_chat|bot_chat|saved_messages|\w+_(?:group|supergroup|channel))"'
    r'|guild"\s*:\s*\{|participants"\s*:\s*\[\s*\{\s*"name")',
    re.DOTALL,
)
LOOKED_THROUGH = 100_000  # characters, as contacts may come first
ALL_CHATS = re.compile(r'\s*\{(?:(?!"messages").){0,100000}?"chats"\s*:\s*\{', re.DOTALL)
EXPORTED_IN = re.compile(r'"type"\s*:\s*"personal_chat"')
SEVERAL = (
    "This is an export of all your chats. What can be learned is how one person replies to "
    "another. Please export a single chat."
)
WRITTEN = ("message", "Default", "Reply", "Generic", None)  # types of what people write
LOOKED_AT = 40  # lines by which such an export is known
LONGEST = 12  # turns of a conversation, which may each be several messages; then another begins
ASIDE = (
    "{count:,} messages without words (pictures, calls, deleted ones, the app's own) are left out."
)


class LoggedMessage(NamedTuple):
    """What somebody wrote, and on which day."""

    day: str
    sender: str
    text: str


def is_chat_log(text: str) -> bool:
    """Tell whether a text begins as a messenger's export, where half of the lines have a time."""
    lines = [line for line in text[:20_000].splitlines() if line.strip()][:LOOKED_AT]
    found = [match for line in lines if (match := STAMP.match(line))]
    sent = sum(bool(SENDER.fullmatch(match[2])) for match in found)
    return bool(lines) and bool(STAMP.match(lines[0])) and sent > 1 and 2 * len(found) >= len(lines)


def read_chat_log(text: str, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read an export of two people's chat; who writes first asks, and the other one replies.

    A day begins another conversation, unless it begins with a reply or nobody has replied yet.

    Args:
        text: of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: another number of people writes, or a limit of `TableBuilder`.
    """
    return _conversations(*_messages(text.lstrip()), name, limits)


def read_messenger_json(text: str, name: str, limits: DataLimits = LIMITS) -> Table | None:
    """Read an export that is JSON, as `read_chat_log`; None where it is none.

    Raises:
        DataError: another number of people writes, or a limit of `TableBuilder`.
    """
    if ALL_CHATS.match(text) and EXPORTED_IN.search(text, 0, LOOKED_THROUGH):
        raise DataError(SEVERAL)
    if not EXPORTED.match(text):
        return None
    try:
        every = json.loads(text)["messages"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None  # what is wrong with it is said by whoever reads JSON
    if not isinstance(every, list) or not every or not all(isinstance(m, dict) for m in every):
        return None
    read = [_logged(message) for message in every]
    found = [message for message in read if message.sender and message.text]
    if _sent(every[0]) > _sent(every[-1]):  # Meta's begins with the last one
        found.reverse()
    return _conversations(found, len(every) - len(found), name, limits)


def _logged(message: dict[str, Any]) -> LoggedMessage:
    """Return one object of an export; without words where it is a call, a sticker or a notice."""
    author, meta = message.get("author"), "sender_name" in message
    sender = (author.get("nickname") or author.get("name")) if isinstance(author, dict) else None
    sender = sender or message.get("from") or message.get("sender_name")
    parts = message.get("content") or message.get("text") or message.get("text_entities") or ""
    parts = parts if isinstance(parts, list) else [parts]  # bold words, links
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    words = "".join(text for text in texts if isinstance(text, str)).strip()
    when = str(message.get("timestamp") or message.get("date") or "")[: len("2024-01-31")]
    day = when or str(_sent(message) // 86_400_000)
    if message.get("type") not in WRITTEN or not isinstance(sender, str):
        return LoggedMessage(day, "", "")
    return LoggedMessage(day, *map(_meant if meta else str, (sender, words)))


def _sent(message: dict[str, Any]) -> int:
    """Return when Meta says it was sent, in milliseconds; 0 for others'."""
    when = message.get("timestamp_ms")
    return when if isinstance(when, int) else 0


def _meant(text: str) -> str:
    """Return what Meta's exports write in UTF-8, each of whose bytes stands there as a letter."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _conversations(
    messages: list[LoggedMessage], aside: int, name: str, limits: DataLimits
) -> Table:
    """Return a table of what two people wrote each other."""
    people = Counter(message.sender for message in messages)
    if not people:
        raise DataError(
            "No message of this chat has words. Please export one in which people write."
        )
    if len(people) == 1:
        raise DataError(
            f"Only “{excerpt(messages[0].sender)}” writes in this chat. What can be learned is how "
            "one person replies to another. Please export a chat of two."
        )
    if len(people) != 2:
        names = ", ".join(f"“{excerpt(who)}”" for who, _ in people.most_common(4))
        raise DataError(
            f"This is a chat in which {len(people):,} people write: {names}. What can be learned "
            "is how one person replies to another. Please export a chat of two."
        )
    user = messages[0].sender
    other = next(who for who in people if who != user)
    talks = _talks(messages, user)
    note = NOTE.format(user=excerpt(user), other=excerpt(other), count=len(talks))
    notes = [note, *([ASIDE.format(count=aside)] if aside else ())]
    table = TableBuilder(name, columns=["messages"], counted="item", notes=notes, limits=limits)
    for number, turns in enumerate(talks, 1):
        table.add(number, {"messages": turns})
    return table.build()


def _messages(text: str) -> tuple[list[LoggedMessage], int]:
    """Return the messages that have words, and how many have none.

    What stands below a picture that was left out is its caption, and words.
    """
    heads, words = list[tuple[str, str]](), list[list[str]]()  # day and sender, and lines, of each
    for line in text.splitlines():
        stamp = STAMP.match(line)
        if stamp is None:
            words[-1].append(line)  # the first line of all has a time
            continue
        sent = SENDER.fullmatch(stamp[2])
        said = (sent[2] or "").strip() if sent else ""
        heads.append((stamp[1], sent[1].strip() if sent else ""))
        words.append([] if EMPTY.fullmatch(said) else [said])
    texts = ["\n".join(lines).strip() for lines in words]
    found = [
        LoggedMessage(*head, text)
        for head, text in zip(heads, texts, strict=True)
        if head[1] and text
    ]
    return found, len(heads) - len(found)


def _talks(messages: list[LoggedMessage], user: str) -> list[list[dict[str, str]]]:
    """Cut messages into conversations of turns; what one person writes at once is one turn."""
    talks: list[list[tuple[str, list[str]]]] = [[]]  # who speaks, and messages
    day = messages[0].day
    for message in messages:
        role, turns = ("user" if message.sender == user else "assistant"), talks[-1]
        full = len(turns) >= LONGEST and turns[-1][0] == "assistant"
        if role == "user" and len(turns) > 1 and (message.day != day or full):
            turns = []
            talks.append(turns)
        day = message.day
        if not turns or turns[-1][0] != role:
            turns.append((role, []))
        turns[-1][1].append(message.text)
    return [[{"role": role, "content": "\n".join(said)} for role, said in talk] for talk in talks]
