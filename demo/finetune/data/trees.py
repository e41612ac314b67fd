"""Messages that answer each other, as OpenAssistant publishes them → one conversation a tree.

A row is a message (`message_id`, `parent_id`, `role`, `text`), or a whole tree, whose `prompt`
holds `replies`, which hold `replies`. Of several answers people ranked one best: it is followed.
Networks export such messages with other names, and with authors instead of roles: whoever begins
asks, and everybody else replies.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from demo.finetune.data.conversation import normalise_name
from demo.finetune.data.message_rows import NAMES, SENDERS, TALKS, TEXTS, gathered
from demo.finetune.data.roles import role_of
from demo.finetune.data.table import RowFault, Table, TableRow, excerpt, structure, yes_or_no

IDS = ("messageid", "tweetid", "commentid", "postid", "msgid", "statusid", "id")
PARENTS = (
    *("parentid", "parentmessageid", "parentcommentid", "replyto", "replytoid", "inreplyto"),
    *("inreplytoid", "inreplytostatusid", "inresponsetotweetid", "replytomessageid"),
)
INBOUND = "inbound"  # whether a message comes from a customer, as in tweets to companies
ROLES = {"prompter": "user", "user": "user", "assistant": "assistant"}
FLOAT = re.compile(r"(\d+)\.0")  # how a column of numbers with gaps is written
NONE = ("", "none", "null", "nan")  # how tables write that there is no parent
JOINED = (
    "The messages answer each other: each of {trees:,} beginnings became a conversation along the "
    "best ranked answers, and {left:,} messages beside these are not used."
)
WHOEVER = "Whoever writes the first message asks; whoever else answers replies, by “{author}”."


@dataclass
class _Message:
    """One message; `rank` is the place that people gave it, 0 the best."""

    number: int
    role: str
    text: str
    rank: float
    parent: str = ""
    author: str = ""
    replies: list["_Message"] = field(default_factory=list)


def joined(table: Table) -> Table:
    """Return a table of conversations where the rows are messages or trees, else the table itself.

    What becomes of the messages that are left out is said in its notes.
    """
    notes = list[str]()
    if columns := _columns(table):
        roots, orphans, count = _by_parents(table, columns)
        if INBOUND not in columns and not any(root.role for root in roots):
            notes = [WHOEVER.format(author=excerpt(columns["author"]))]
            _let_authors_reply(roots)
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
        notes=(*table.notes, note, *notes),
    )


def _columns(table: Table) -> dict[str, str] | None:
    """Find the columns of messages that answer each other; None where the rows are others.

    A third of the rows have to answer another one, or the columns to have OpenAssistant's names.
    """
    normal = {normalise_name(name): name for name in reversed(table.filled_columns)}
    known = {"id": IDS, "parent": PARENTS, "text": TEXTS, "author": (*SENDERS, *NAMES)}
    found = {
        what: next((normal[name] for name in names if name in normal), "")
        for what, names in known.items()
    }
    if INBOUND in normal:
        found[INBOUND] = normal[INBOUND]
    if not all(found.values()) or any(name in normal for name in TALKS):
        return None
    ids = {_id(row.cells.get(found["id"], "")) for row in table.rows}
    answers = sum(_id(row.cells.get(found["parent"], "")) in ids for row in table.rows)
    if {"message_id", "parent_id", "role"} <= set(table.columns):
        return found
    # Names that never come again are no authors: parts of a plan hang below each other, too.
    people = {row.cells.get(found["author"], "").strip() for row in table.rows}
    return found if 3 * answers >= len(table.rows) > len(people) else None


def _id(cell: str) -> str:
    whole = FLOAT.fullmatch(cell.strip())
    return whole[1] if whole else cell.strip()


def _let_authors_reply(roots: list[_Message]) -> None:
    """Say who asks where no roles are given: whoever wrote the beginning."""
    for root in roots:
        for message in _all(root):
            message.role = "user" if message.author == root.author else "assistant"


def _by_parents(
    table: Table, columns: dict[str, str]
) -> tuple[list[_Message], list[RowFault], int]:
    """Hang each message below the one that it answers → beginnings, and what has lost its own."""
    messages = {_id(row.cells.get(columns["id"], "")): _of_row(row, columns) for row in table.rows}
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


def _of_row(row: TableRow, columns: Mapping[str, str]) -> _Message:
    named = {"text": "text", "parent": "parent_id", "author": "role"}
    own = {name: row.cells.get(columns[what], "") for what, name in named.items()}
    message = _message(row.number, {**row.cells, **own})
    if INBOUND in columns:
        message.role = "user" if yes_or_no(row.cells.get(columns[INBOUND], "")) else "assistant"
    return message


def _message(number: int, fields: Mapping[str, Any]) -> _Message:
    deleted = yes_or_no(fields.get("deleted", "")) or False
    try:
        rank = float(fields.get("rank") or 0)
    except (TypeError, ValueError):
        rank = 0.0
    author = str(fields.get("role", "")).strip()
    role = ROLES.get(author) or role_of(author) or ""
    text = "" if deleted else str(fields.get("text") or "")
    parent = _id(str(fields.get("parent_id") or ""))
    return _Message(number, role, text, rank, parent, author)


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
