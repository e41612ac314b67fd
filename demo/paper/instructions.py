"""Instructions and replies as the paper teaches them: Alpaca's prompt, a part held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.errors import DataError
from demo.finetune.data.column_doubts import why_unknown
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.dataset import CheckSettings, EncodedRow, check
from demo.finetune.data.examples import IGNORED, Example
from demo.finetune.data.read import read_table
from demo.finetune.data.table import NO_LIMITS
from demo.finetune.train.evaluate import ProbeQuestion
from demo.llama.tokenizer.chat_template import Message, PromptForm
from demo.llama.tokenizer.tokenizer import Tokenizer

ALPACA = PromptForm("alpaca")
MARK = "### Input:\n"  # between an instruction and what it is about


@dataclass(frozen=True)
class Instructions:
    """What is trained and held out, encoded; and the rows, of which some are shown.

    Attributes:
        train, held_out: examples in Alpaca's prompt.
        rows: those held out, as they were read.
        refused: rows that cannot be used.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    rows: tuple[EncodedRow, ...]
    refused: int


def read_instructions(
    path: Path,
    tokenizer: Tokenizer,
    *,
    share: float = 0.1,
    most: int | None = None,
    window: int = 512,
    seed: int = 0,
) -> Instructions:
    """Read a data set of instructions of any kind that the program knows.

    Questions that are held out are asked nowhere in the training part.

    Args:
        path: of the file.
        tokenizer: of the base.
        share: held out, where the data does not say which rows are.
        most: rows to learn, None for all.
        window: tokens of an example.
        seed: of what is held out.

    Raises:
        DataError: it cannot be read, has pictures or several turns alone, or nothing is held out.
    """
    table = read_table(path, path.name, NO_LIMITS)
    layout = recognise_table(table)
    if layout is None:
        raise DataError(why_unknown(table.columns))
    dataset = check(table, layout, tokenizer, CheckSettings(window, share, seed, "style"))
    train, held_out = (
        [row for row in rows if _is_instruction(row)] for rows in (dataset.train, dataset.held_out)
    )
    if not train or not held_out:
        raise DataError(
            "There is no instruction with a reply to learn, or none is held out. Please use more "
            "rows, of one turn and without pictures."
        )
    trained, judged = ([alpaca(row, tokenizer) for row in rows] for rows in (train, held_out))
    fits = [len(example.ids) < window for example in judged]
    return Instructions(
        tuple(example for example in trained if len(example.ids) < window)[:most],
        tuple(example for example, good in zip(judged, fits, strict=True) if good),
        tuple(row for row, good in zip(held_out, fits, strict=True) if good),
        len(dataset.report.refused),
    )


def alpaca(row: EncodedRow, tokenizer: Tokenizer) -> Example:
    """Encode a row in Alpaca's prompt: the reply and its end are trained (section 4.1)."""
    turn = row.conversation.exchanges[0]
    before = prompt_ids(turn.question, tokenizer)
    reply = [*tokenizer.encode_text(turn.reply), min(tokenizer.stop_ids)]
    ids = (*before, *reply)
    return Example(ids[:-1], (*[IGNORED] * (len(before) - 1), *reply))


def prompt_ids(instruction: str, tokenizer: Tokenizer) -> list[int]:
    """Encode an instruction as it is asked."""
    return tokenizer.chat([Message("user", instruction)], form=ALPACA)


def question(instruction: str, tokenizer: Tokenizer, expected: str = "") -> ProbeQuestion:
    """Return an instruction to be answered."""
    return ProbeQuestion(instruction, tuple(prompt_ids(instruction, tokenizer)), expected=expected)


def few_shots(instruction: str, rows: Sequence[tuple[str, str]], tokenizer: Tokenizer) -> list[int]:
    """Encode an instruction after some that are answered."""
    messages = [
        message
        for asked, said in rows
        for message in (Message("user", asked), Message("assistant", said))
    ]
    return tokenizer.chat([*messages, Message("user", instruction)], form=ALPACA)


def _is_instruction(row: EncodedRow) -> bool:
    talk = row.conversation
    return len(talk.exchanges) == 1 and talk.picture is None
