"""What messengers export as text, each message with its time and sender → a table of conversations.

WhatsApp writes `[12/03/2024, 09:15:22] Anna: …` on one kind of phone and
`12/03/24, 9:15 am - Anna: …` on the other; dates and clocks differ by country. A line that does not
begin so goes on with the message before it.
"""

import re
from collections import Counter
from typing import NamedTuple

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
    messages, aside = _messages(text.lstrip())
    people = Counter(message.sender for message in messages)
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
