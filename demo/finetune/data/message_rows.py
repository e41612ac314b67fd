"""Tables of which each row is a message, with who wrote it → conversations.

Help desks and chats export them: `conversation_id, role, content`, `dialogue_id, speaker,
utterance`, `timestamp, sender, message`, Discord's objects with `author` and `content`. Who replies
is said by the role; where senders have names, whoever writes first asks.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from demo.finetune.data.column_names import BARRED, OPINION, PICTURE, VERDICT, all_named
from demo.finetune.data.conversation import MAX_TURNS, normalise_name
from demo.finetune.data.roles import role_of
from demo.finetune.data.table import RowFault, Table, TableRow, excerpt, structure

SENDERS = (
    *("role", "speaker", "sender", "from", "who", "participant", "sendername", "fromname"),
    *("sendertype", "senderrole", "speakerrole", "authortype"),
)
# Of writers of any kind.
NAMES = ("author", "authorname", "user", "username", "name", "authorid", "senderid", "fromid")
TEXTS = (
    *("content", "text", "message", "utterance", "body", "value", "messagetext", "msg", "says"),
    *("contentmd", "contenttext", "messagebody", "textcontent"),
)
TALKS = (
    *("conversationid", "dialogueid", "dialogid", "chatid", "threadid", "sessionid", "ticketid"),
    *("convid", "callid", "roomid", "conversation", "dialogue", "dialog", "thread", "session"),
    *("ticket", "chat", "episode", "discussionid", "caseid"),
)
TURNS = (
    *("turn", "turnid", "turnnumber", "turnindex", "turnidx", "messageindex", "messagenumber"),
    *("index", "seq", "position", "order", "step", "utteranceid", "utteranceidx"),
)
TIMES = ("timestamp", "date", "time", "createdat", "sentat", "datetime", "created", "sent")
PAIRED = ("question", "answer", "prompt", "response", "reply", "output", "completion", "caption")
AUTHOR = ("globalname", "nickname", "username", "name")
LONGEST = 12  # turns of a conversation that nothing else ends
NOTE = (
    "Each row is a message: “{sender}” says who writes, and the text is read as {count:,} "
    "conversations."
)
FIRST = "Whoever writes first asks, and the other one replies."
UNUSED = "Of the messages is not used: {names}."
ASIDE = "Rows without words are left out: {count:,}."
ALONE = "Nobody answers in this conversation."
SEVERAL = "More than two people write in this conversation, so nobody knows who replies."


class _MessageRow(NamedTuple):
    number: int
    sender: str
    text: str
    day: str


def gathered(table: Table) -> Table:
    """Return a table of conversations where the rows are messages, else the table itself.

    They are where senders are called user and assistant or the like; where conversations are
    numbered; or where two people take turns. What is left out is said in the notes.
    """
    columns = _columns(table)
    if columns is None:
        return table
    sender, text, talk, turn, time = columns
    rows = [row for row in table.rows if row.cells.get(text, "").strip()]
    people = {_name(row.cells.get(sender, "")) for row in rows}
    roles = {name: role_of(name) for name in people}
    known = all(roles.values()) and {"user", "assistant"} <= set(roles.values())
    if not rows or not (known or talk or _take_turns(rows, sender, people)):
        return table
    if talk and not known and not _is_talked(rows, talk, sender):
        return table
    talks = list(_talks(rows, columns, known))
    found, faults = [], list(table.faults)
    for messages in talks:
        turns = _turns(messages, roles if known else _first_asks(messages))
        said = [turn["role"] for turn in turns if turn["role"] != "system"]
        if not known and len({message.sender for message in messages}) > 2:
            faults.append(RowFault(messages[0].number, SEVERAL))
        elif "assistant" not in said or "user" not in said:
            faults.append(RowFault(messages[0].number, ALONE))
        else:
            cell = json.dumps(turns, ensure_ascii=False)
            found.append(TableRow(messages[0].number, {"messages": cell}))
    if not found:
        return table
    unused = [f"“{excerpt(name)}”" for name in table.filled_columns if name not in columns]
    left = len(table.rows) - len(rows)
    notes = (
        NOTE.format(sender=excerpt(sender), count=len(found)),
        *([] if known else [FIRST]),
        *([UNUSED.format(names=", ".join(unused))] if unused else []),
        *([ASIDE.format(count=left)] if left else []),
    )
    return replace(
        table,
        columns=("messages",),
        rows=tuple(found),
        faults=tuple(sorted(faults, key=lambda fault: fault.number)),
        notes=(*table.notes, *notes),
    )


class _MessageColumns(NamedTuple):
    sender: str
    text: str
    talk: str | None
    turn: str | None
    time: str | None


def _columns(table: Table) -> _MessageColumns | None:
    """Find what the columns of messages are; None where others say what a row means."""
    names = table.filled_columns
    normal = {normalise_name(name): name for name in reversed(names)}
    sender, text, talk, turn, time = (
        next((normal[name] for name in known if name in normal), None)
        for known in ((*SENDERS, *NAMES), TEXTS, TALKS, TURNS, TIMES)
    )
    if sender is None or text is None or not (talk or time or normalise_name(sender) in SENDERS):
        return None
    if all_named(names, (*BARRED, *OPINION, *PICTURE, *VERDICT)):
        return None
    if any(name in normal for name in PAIRED):
        return None
    return _MessageColumns(sender, text, talk, turn, time)


def _name(cell: str) -> str:
    """Give who is meant, also where an object describes them, as Discord's do."""
    found = structure(cell)
    if isinstance(found, dict):
        named = {normalise_name(str(key)): value for key, value in found.items()}
        given = next((named[key] for key in AUTHOR if isinstance(named.get(key), str)), "")
        return given.strip()
    return cell.strip()


def _take_turns(rows: list[TableRow], sender: str, people: set[str]) -> bool:
    """Tell whether two people write in turns, and not one after the other is done."""
    names = [_name(row.cells.get(sender, "")) for row in rows]
    changes = sum(a != b for a, b in pairwise(names))
    return len(people) == 2 and all(people) and changes > 2 and 5 * changes > len(names)


def _is_talked(rows: list[TableRow], talk: str, sender: str) -> bool:
    """Tell whether most of what is numbered as a conversation is one of two people."""
    people: dict[str, set[str]] = {}
    for row in rows:
        people.setdefault(row.cells.get(talk, ""), set()).add(_name(row.cells.get(sender, "")))
    return 2 * sum(len(names) == 2 for names in people.values()) > len(people)


def _talks(
    rows: list[TableRow], columns: _MessageColumns, known: bool
) -> Iterator[list[_MessageRow]]:
    """Give the messages of each conversation, in the order in which they were written."""
    groups: dict[str, list[TableRow]] = {}
    for row in rows:
        groups.setdefault(row.cells.get(columns.talk, "") if columns.talk else "", []).append(row)
    for group in groups.values():
        messages = [
            _MessageRow(
                row.number,
                _name(row.cells.get(columns.sender, "")),
                row.cells[columns.text].strip(),
                (row.cells.get(columns.time, "") if columns.time else "")[: len("2024-01-31")],
            )
            for row in _in_order(group, columns)
        ]
        whole = columns.talk and len(messages) <= MAX_TURNS
        yield from ([messages] if whole else _parted(messages, known))


def _in_order(rows: list[TableRow], columns: _MessageColumns) -> list[TableRow]:
    """Sort by the number of the turn, if all have one; turn round what begins with the last."""
    if columns.turn and columns.talk:
        numbers = [row.cells.get(columns.turn, "").strip() for row in rows]
        if all(re.fullmatch(r"\d{1,9}(?:\.0)?", number) for number in numbers):
            return [row for _, row in sorted(zip(numbers, rows, strict=True), key=_turn)]
    if columns.time and len(rows) > 1:
        first, last = (row.cells.get(columns.time, "").strip() for row in (rows[0], rows[-1]))
        if all(re.match(r"\d{4}-\d\d-\d\d", when) for when in (first, last)) and first > last:
            return rows[::-1]
    return rows


def _turn(numbered: tuple[str, TableRow]) -> float:
    return float(numbered[0])


def _parted(messages: list[_MessageRow], known: bool) -> Iterator[list[_MessageRow]]:
    """Cut messages that nothing numbers, where a day begins or it was long enough."""
    first = messages[0].sender
    part: list[_MessageRow] = []
    people: set[str] = set()  # who has written in this part
    turns, before = 0, ""
    for message in messages:
        role = role_of(message.sender) if known else ("user" if message.sender == first else None)
        answered = len(people) > 1 or (bool(people) and message.sender not in people)
        asks = role in ("user", "system") and before != message.sender
        if part and asks and answered and (message.day != part[-1].day or turns >= LONGEST):
            yield part
            part, people, turns = [], set(), 0
        turns += before != message.sender
        before = message.sender
        part.append(message)
        people.add(message.sender)
    yield part


def _first_asks(messages: Iterable[_MessageRow]) -> dict[str, str | None]:
    roles: dict[str, str | None] = {}
    for message in messages:
        roles.setdefault(message.sender, "assistant" if roles else "user")
    return roles


def _turns(messages: list[_MessageRow], roles: dict[str, str | None]) -> list[dict[str, str]]:
    """Give turns; what one side writes at once is one of them."""
    turns: list[dict[str, str]] = []
    for message in messages:
        role = roles[message.sender] or "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n{message.text}"
        else:
            turns.append({"role": role, "content": message.text})
    return turns
