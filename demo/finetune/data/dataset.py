"""A data set: what its rows teach, which are learned and which held out, and a report on them.

`check_rows` reads and encodes each row once (`examples.py`), which is slow and kept
(`dataset_file.py`); `split_rows` holds some of them out, which is quick and done again.

What they teach is guessed: facts, a style, a task or classes of pictures. It decides how a run is
split, measured and ended. Facts cannot be guessed from other facts, so none is held out; what
follows a rule or has a tone can be evaluated on rows that were never learned.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal, get_args

from demo.background_task import ProgressCallback
from demo.errors import DataError, InputError
from demo.finetune.data.columns import Layout
from demo.finetune.data.conversation import TrainingConversation
from demo.finetune.data.examples import CheckedRows, EncodedRow, check_rows
from demo.finetune.data.pictures import SeenPicture
from demo.finetune.data.report import Conflict, DatasetReport, Lengths, RowNote
from demo.finetune.data.table import Table
from demo.llama.tokenizer.tokenizer import Tokenizer

Aim = Literal["facts", "style", "task", "classes"]
AIMS: tuple[Aim, ...] = get_args(Aim)
AskedAim = Literal[Aim, "auto"]  # "auto": guessed from the rows
LOOKED_AT = 1_000  # rows by which it is guessed
MOST_FACTS = 300  # rows; who has more has seldom typed them one by one
MOST_WORDS = 24  # of a fact's reply, in the middle
PHRASE = 4  # words that all replies begin or end with are a manner of speaking
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf~♪]")
QUESTION_WORDS = frozenset((
    "what", "when", "where", "who", "whose", "which", "why", "how", "is", "are", "do",
    "does", "can",
))  # fmt: skip


@dataclass(frozen=True)
class CheckSettings:
    """How rows are checked and split.

    Attributes:
        window: tokens an example may have at most, the end of its last reply included.
        held_out: the share held out when the data does not say which rows are; of facts none.
        seed: of what is held out.
        aim: what the rows teach.
        cut: leave out the last turns of what is over the window, rather than refuse it.

    Raises:
        InputError: a value is out of its range.
    """

    window: int = 512
    held_out: float = 0.1
    seed: int = 0
    aim: AskedAim = "style"
    cut: bool = False

    def __post_init__(self) -> None:
        if not 16 <= self.window <= 1_000_000:
            raise InputError(f"The window is {self.window} tokens; please use at least 16.")
        if not 0 <= self.held_out <= 0.5:
            raise InputError(
                f"The held-out share is {self.held_out:g}; please use 0 to 0.5 (half of the rows)."
            )


@dataclass(frozen=True)
class Dataset:
    """What an adapter learns from, and what it is evaluated on.

    Attributes:
        name: of the table.
        train: the rows to learn, in the file's order.
        held_out: the rows to evaluate on alone, in the file's order.
        pictures: what `Example.picture` counts.
        checked: the rows before they were split.
        aim: what the rows teach.
    """

    name: str
    train: tuple[EncodedRow, ...]
    held_out: tuple[EncodedRow, ...]
    pictures: tuple[SeenPicture, ...]
    report: DatasetReport = field(repr=False)
    checked: CheckedRows = field(repr=False)
    aim: Aim = "style"

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("a data set without anything to learn")

    @property
    def fingerprint(self) -> str:
        """sha256 over the texts and pictures that are learned."""
        digest = hashlib.sha256()
        for row in self.train:
            conversation, picture = row.conversation, row.example.picture
            pixels = None if picture is None else self.pictures[picture].digest
            turns = [[turn.question, turn.reply, turn.learn] for turn in conversation.exchanges]
            digest.update(json.dumps([conversation.system, turns, pixels]).encode() + b"\n")
        return digest.hexdigest()


def check(
    table: Table,
    layout: Layout,
    tokenizer: Tokenizer,
    settings: CheckSettings | None = None,
    *,
    held_out: Table | None = None,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Read every row of a table and split the usable ones.

    Args:
        table: the rows.
        layout: which of its columns means what.
        tokenizer: of the base that is to learn.
        settings: the defaults when None.
        held_out: a second table with the same columns, to evaluate on alone.
        progress: hears now and then how far the check is; what it raises ends the check.

    Raises:
        DataError: no row can be used, or none is left to learn; the columns are not the table's.
    """
    settings = settings or CheckSettings()
    checked = check_rows(
        table,
        layout,
        tokenizer,
        settings.window,
        cut=settings.cut,
        held_out=held_out,
        progress=progress,
    )
    return split_rows(checked, settings)


def split_rows(checked: CheckedRows, settings: CheckSettings) -> Dataset:
    """Hold rows out, and leave out those that would be learned twice or stand in both parts.

    Rows that the data itself holds out (a second table, or the layout's `split`) are held out;
    otherwise a share of all but facts. Held-out questions are taken out of the training part.

    Raises:
        DataError: no row is left to learn.
    """
    aim = aim_of(settings.aim, [row.conversation for row in checked.rows])
    settings = replace(settings, held_out=0.0) if aim == "facts" else settings
    rows, duplicates = _without_duplicates(_assigned(checked.rows, settings))
    rows, leaks = _without_leaks(rows)
    train, test = (tuple(r for r in rows if r.split == part) for part in ("train", "test"))
    if not train:
        raise DataError(
            f"All {len(rows):,} usable rows are held out, so there is nothing left to learn. "
            "Please mark some as train, or leave the column split out."
        )
    report = DatasetReport(
        rows=len(checked.rows) + len(checked.refused),
        usable=len(rows),
        counted=checked.counted,
        repaired=tuple(row.note("; ".join(t)) for row in rows if (t := row.conversation.repairs)),
        refused=checked.refused,
        duplicates=duplicates,
        conflicts=_conflicts(rows),
        leaks=leaks,
        unused_pictures=checked.unused_pictures,
        lengths=_lengths([len(row.example.ids) + 1 for row in rows], checked.window),
        notes=checked.notes,
        unused_columns=checked.unused_columns,
    )
    return Dataset(checked.name, train, test, checked.pictures, report, checked, aim)


def aim_of(asked: AskedAim, conversations: Sequence[TrainingConversation]) -> Aim:
    """Return the aim that was asked for, or a guess from the rows.

    Rows that a person holds out are to be judged by, and conversations have no one question: these
    are not guessed to be facts.

    Args:
        asked: what the person says it is.
        conversations: a row each.
    """
    if asked != "auto":
        return asked
    first = [each.exchanges[0] for each in conversations[:LOOKED_AT]]
    if any(exchange.plain for exchange in first):
        return "style"
    rows = [(exchange.question, exchange.reply) for exchange in first]
    aim = guess_aim(rows, pictures=any(each.picture for each in conversations))
    plain = all(len(each.exchanges) == 1 and each.split != "test" for each in conversations)
    return aim if plain or aim != "facts" else "style"


def guess_aim(rows: Sequence[tuple[str, str]], *, pictures: bool = False) -> Aim:
    """Guess the aim from questions and their replies.

    Args:
        rows: question and reply of each; none at all is a style.
        pictures: whether the questions are about pictures.
    """
    if not rows:
        return "style"
    questions, replies = [row[0] for row in rows], [row[1] for row in rows]
    if pictures:
        return "classes" if _few(replies) else "task"
    if _formatted(replies) or _few(replies) or _share(map(_derived, questions, replies)) >= 0.7:
        return "task"
    if _one_command(questions):
        return "task"
    few_rows = len(rows) <= MOST_FACTS
    distinct = len({_plain(question) for question in questions}) >= 0.8 * len(rows)
    short = median(map(_length, replies)) <= MOST_WORDS
    return "facts" if few_rows and distinct and short and not _toned(replies) else "style"


def draw_held_out(keys: Sequence[Hashable], share: float, seed: int) -> frozenset[int]:
    """Draw places of about `share` of the keys; equal keys go together, and not all of them.

    At least one is held out when `share` is above 0 and there are two different keys. A key that
    is shared by so many that the share would double is not held out.

    Args:
        keys: what each row asks.
        share: 0 to 0.5.
        seed: the same seed and keys give the same places.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    if share <= 0 or len(groups) < 2:
        return frozenset()
    wanted = max(1, round(share * len(keys)))
    most = min(2 * wanted, len(keys) - 1)  # something stays to learn from
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    chosen: list[int] = []
    for group in order:
        if len(chosen) >= wanted:
            break
        if len(chosen) + len(group) <= most:
            chosen += group
    if not chosen:  # every group is large: the smallest is the least harm
        chosen = min(order, key=len)
    return frozenset(chosen)


def question_key(row: EncodedRow) -> Hashable:
    """Give what the model is asked first: rows alike in it are the same question to it.

    Case and spacing are left out: who knows the one answer knows the other.
    """
    conversation = row.conversation
    if conversation.exchanges[0].plain:  # pieces of one text go together
        return row.table, row.row
    words = " ".join(conversation.exchanges[0].question.casefold().split())
    return conversation.system, words, row.example.picture


def _content_key(row: EncodedRow) -> Hashable:
    """Everything a row says: rows alike in it teach the same."""
    return row.conversation.system, row.conversation.exchanges, row.example.picture


def _share(found: Iterable[bool]) -> float:
    values = list(found)
    return sum(values) / len(values)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _length(text: str) -> float:
    """Count words; two letters of a script without spaces are about one."""
    wide = len(re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", text))
    return wide / 2 + len(re.findall(r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+", text))


def _few(replies: Sequence[str]) -> bool:
    """Whether the same few short replies come again and again."""
    distinct = {_plain(reply) or reply for reply in replies}
    again = len(replies) >= 6 and len(distinct) <= max(2, len(replies) / 3)
    return again and median(map(_length, replies)) <= 5


def _formatted(replies: Sequence[str]) -> bool:
    """Whether replies are JSON, markup or lines of `key: value` of the same keys."""
    keys: Counter[Hashable] = Counter(_keys(reply) for reply in replies)
    del keys[None]
    return sum(keys.values()) >= 0.9 * len(replies)


def _keys(reply: str) -> Hashable:
    text = reply.strip()
    if text[:1] in "{[<" and text[-1:] in "}]>" and text:
        try:
            found = json.loads(text)
        except ValueError:
            return "markup"
        return tuple(found) if isinstance(found, dict) else "list"
    pairs = re.findall(r"(?:^|[;,\n])\s*(\w+)\s*[:=]", text)
    return tuple(pairs) if len(pairs) > 1 else None


def _derived(question: str, reply: str) -> bool:
    """Whether a reply is made of its question's own words, or of its letters."""
    asked, said = set(_plain(question).split()), _plain(reply).split()
    inside = bool(said) and sum(word in asked for word in said) >= 0.9 * len(said)
    return inside or sorted(_plain(question)) == sorted(_plain(reply))


def _one_command(questions: Sequence[str]) -> bool:
    """Whether most questions begin with the same word that asks for work, such as "Translate"."""
    firsts = Counter(words[0] for question in questions if (words := _plain(question).split()))
    if len(questions) < 4 or not firsts:
        return False
    word, count = firsts.most_common(1)[0]
    return count >= 0.8 * len(questions) and word.isascii() and word not in QUESTION_WORDS


def _toned(replies: Sequence[str]) -> bool:
    """Whether replies sound alike: the same phrase in all, exclamations, or little pictures."""
    words = [_plain(reply).split() for reply in replies]
    ends = (Counter(tuple(each[:PHRASE]) for each in words if len(each) > PHRASE),
            Counter(tuple(each[-PHRASE:]) for each in words if len(each) > PHRASE))  # fmt: skip
    many = max(3, len(replies) / 2)
    phrase = any(count >= many for end in ends for count in end.values())
    loud = _share("!" in reply for reply in replies) >= 0.6
    return phrase or loud or _share(bool(EMOJI.search(reply)) for reply in replies) >= 0.5


def _assigned(rows: Sequence[EncodedRow], settings: CheckSettings) -> list[EncodedRow]:
    """Each row with its part: the data's own where it has one, otherwise drawn."""
    if any(row.split == "test" for row in rows):
        return [row.within(row.split or "train") for row in rows]
    test = draw_held_out([*map(question_key, rows)], settings.held_out, settings.seed)
    return [row.within("test" if i in test else "train") for i, row in enumerate(rows)]


def _without_duplicates(
    rows: Sequence[EncodedRow],
) -> tuple[list[EncodedRow], tuple[RowNote, ...]]:
    """Rows without those that an earlier one of the same part makes needless."""
    first, notes = dict[Hashable, EncodedRow](), []
    for row in rows:
        earlier = first.setdefault((row.split, _content_key(row)), row)
        if earlier is not row:
            notes.append(row.note(f"the same as {earlier.where}"))
    return list(first.values()), tuple(notes)


def _without_leaks(rows: Sequence[EncodedRow]) -> tuple[list[EncodedRow], tuple[RowNote, ...]]:
    """Rows without those to be learned that the held-out part asks too."""
    held_out = {question_key(row): row for row in reversed(rows) if row.split == "test"}
    kept, notes = [], []
    for row in rows:
        other = held_out.get(question_key(row)) if row.split == "train" else None
        if other is None:
            kept.append(row)
        else:
            notes.append(row.note(f"held out too, as {other.where}, so it is not learned"))
    return kept, tuple(notes)


def _conflicts(rows: Sequence[EncodedRow]) -> tuple[Conflict, ...]:
    """Questions of one turn that get different replies."""
    groups: dict[Hashable, list[EncodedRow]] = {}
    for row in rows:
        if len(row.conversation.exchanges) == 1 and row.conversation.exchanges[0].question:
            groups.setdefault(question_key(row), []).append(row)
    return tuple(
        Conflict(group[0].conversation.exchanges[0].question, tuple(row.where for row in group))
        for group in groups.values()
        if len({row.conversation.exchanges[0].reply for row in group}) > 1
    )


def _lengths(lengths: list[int], window: int) -> Lengths:
    ordered = sorted(lengths)
    return Lengths(ordered[0], ordered[len(ordered) // 2], ordered[-1], window)
