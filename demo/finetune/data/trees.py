"""Messages that answer each other, as OpenAssistant publishes them → one conversation a tree.

A row is a message (`message_id`, `parent_id`, `role`, `text`), or a whole tree, whose `prompt`
holds `replies`, which hold `replies`. Of several answers people ranked one best: it is followed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from demo.finetune.data.conversation import normalise_name
from demo.finetune.data.message_rows import NAMES, SENDERS, gathered
from demo.finetune.data.table import RowFault, Table, TableRow, structure, yes_or_no

MESSAGE = {"message_id", "parent_id", "role", "text"}
ROLES = {"prompter": "user", "user": "user", "assistant": "assistant"}
NONE = ("", "none", "null", "nan")  # how tables write that there is no parent
JOINED = (
    "The messages answer each other: each of {trees:,} beginnings became a conversation along the "
    "best ranked answers, and {left:,} messages beside these are not used."
)


@dataclass
class _Message:
    """One message; `rank` is the place that people gave it, 0 the best."""

    number: int
    role: str
    text: str
    rank: float
    parent: str = ""
    replies: list["_Message"] = field(default_factory=list)


def joined(table: Table) -> Table:
    """Return a table of conversations where the rows are messages or trees, else the table itself.

    What becomes of the messages that are left out is said in its notes.
    """
    if set(table.columns) >= MESSAGE:
        roots, orphans, count = _by_parents(table)
    elif not {*SENDERS, *NAMES}.isdisjoint(map(normalise_name, table.columns)):
        return gathered(table)
    elif "prompt" in table.columns and table.rows:
        trees = [structure(row.cells.get("prompt", "")) for row in table.rows]
        if not all(isinstance(tree, dict) and "replies" in tree for tree in trees):
            return table
        pairs = zip(table.rows, trees, strict=True)
        roots, orphans = [_nested(row.number, tree) for row, tree in pairs], []
        count = sum(1 for root in roots for _ in _all(root))
    else:
        return table
    rows, faults = [], list(orphans)
    used = 0
    for root in roots:
        turns = list(_best(root))
        if len(turns) < 2 or root.role != "user":
            faults.append(RowFault(root.number, "Nobody answered this message."))
            continue
        used += len(turns)
        said = [{"role": turn.role, "content": turn.text} for turn in turns]
        cell = json.dumps(said, ensure_ascii=False)
        rows.append(TableRow(root.number, {"messages": cell}))
    if not rows:
        return table
    note = JOINED.format(trees=len(rows), left=count - used)
    faults.sort(key=lambda fault: fault.number)
    return replace(
        table,
        columns=("messages",),
        rows=tuple(rows),
        faults=(*table.faults, *faults),
        notes=(*table.notes, note),
    )


def _by_parents(table: Table) -> tuple[list[_Message], list[RowFault], int]:
    """Hang each message below the one that it answers → beginnings, and what has lost its own."""
    messages = {row.cells.get("message_id", ""): _of_row(row) for row in table.rows}
    roots, orphans = [], []
    for message in messages.values():
        if message.parent.casefold() in NONE:
            roots.append(message)
        elif message.parent in messages:
            messages[message.parent].replies.append(message)
        else:
            orphans.append(
                RowFault(message.number, "The message that this one answers is not in the file.")
            )
    return roots, orphans, len(table.rows)


def _of_row(row: TableRow) -> _Message:
    return _message(row.number, row.cells)


def _message(number: int, fields: Mapping[str, Any]) -> _Message:
    deleted = yes_or_no(fields.get("deleted", "")) or False
    try:
        rank = float(fields.get("rank") or 0)
    except (TypeError, ValueError):
        rank = 0.0
    role = ROLES.get(str(fields.get("role", "")).strip(), "")
    text = "" if deleted else str(fields.get("text") or "")
    return _Message(number, role, text, rank, str(fields.get("parent_id") or "").strip())


def _nested(number: int, tree: Mapping[str, Any]) -> _Message:
    """Read a tree without recursion: strangers nest as deep as they like."""
    root = _message(number, tree)
    waiting = [(root, tree)]
    while waiting:
        message, fields = waiting.pop()
        replies = fields.get("replies")
        for reply in replies if isinstance(replies, list) else []:
            if isinstance(reply, dict):
                message.replies.append(_message(number, reply))
                waiting.append((message.replies[-1], reply))
    return root


def _all(root: _Message) -> Iterator[_Message]:
    waiting = [root]
    while waiting:
        message = waiting.pop()
        waiting += message.replies
        yield message


def _best(root: _Message) -> Iterator[_Message]:
    """Follow the best ranked answers, as far as the last reply of the assistant."""
    turns, next_ = [root], root
    while True:
        wanted = "assistant" if next_.role == "user" else "user"
        able = [reply for reply in next_.replies if reply.role == wanted and reply.text]
        if not able:
            break
        next_ = min(able, key=lambda reply: reply.rank)
        turns.append(next_)
    if turns[-1].role != "assistant":
        turns.pop()
    yield from turns
