"""What the check of a data set found, for a terminal: in sentences, or as JSON for a program."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from demo.errors import DataError
from demo.finetune.data.columns import Layout, unused_columns
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.dataset import CheckSettings, check
from demo.finetune.data.examples import EncodedRow, RowEncoder, preview
from demo.finetune.data.report import RowNote
from demo.finetune.data.table import Table
from demo.llama.tokenizer.tokenizer import Tokenizer

SHOWN = 3  # rows that are shown as they would be taught


def summarise(
    table: Table,
    layout: Layout,
    tokenizer: Tokenizer,
    settings: CheckSettings,
    held_out: Table | None = None,
) -> dict[str, Any]:
    """Check a table and say what was found; also when no row can be used.

    Args:
        table: the rows.
        layout: which of its columns means what.
        tokenizer: of the base that is to learn.
        settings: how rows are checked and split.
        held_out: a second table, only to judge by.

    Returns:
        A value of JSON: counts of `rows`, `usable`, `learned` and `held_out`; `refused`, how many
        rows by each reason; `unused_columns`; `columns` in use by meaning; the first rows that
        would be learned, as `examples`; and `error`, why nothing can be taught, or None.

    Raises:
        DataError: the columns are not the table's.
    """
    layout.check(table.columns)
    found: dict[str, Any] = {
        "name": table.name,
        "layout": layout.name,
        "columns": _used(layout),
        "rows": len(table.rows) + len(table.faults),
        "usable": 0,
        "learned": 0,
        "held_out": 0,
        "repaired": 0,
        "duplicates": 0,
        "refused": {},
        "unused_columns": list(unused_columns(table, layout)),
        "notes": [*table.notes, *layout.remarks],
        "examples": [],
        "error": None,
    }
    try:
        dataset = check(table, layout, tokenizer, settings, held_out=held_out)
    except DataError as error:
        encoder = RowEncoder(
            tokenizer, settings.window, lambda message, share: None, cut=settings.cut
        )
        encoder.add(table, layout)
        return {**found, "refused": by_reason(encoder.refused), "error": str(error)}
    report = dataset.report
    return {
        **found,
        "rows": report.rows,
        "usable": report.usable,
        "learned": len(dataset.train),
        "held_out": len(dataset.held_out),
        "repaired": len(report.repaired),
        "duplicates": len(report.duplicates),
        "refused": by_reason(report.refused),
        "unused_columns": list(report.unused_columns),
        "notes": list(report.notes),
        "examples": _examples(dataset.train[:SHOWN], tokenizer),
    }


def by_reason(notes: Sequence[RowNote]) -> dict[str, int]:
    """Count rows by what is wrong, the commonest first; what each row names itself is left out."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        kind = re.sub(r"\d[\d,.]*", "…", re.sub(r"“[^”]*”", "“…”", note.text))
        kinds.setdefault(kind, []).append(note.text)
    counts = Counter({k: len(texts) for k, texts in kinds.items()})
    return {
        kinds[kind][0] if len(set(kinds[kind])) == 1 else kind: count
        for kind, count in counts.most_common()
    }


def as_text(found: dict[str, Any]) -> str:
    """Say in lines what `summarise` found."""
    lines = [
        f"{found['name']}: {found['rows']:,} rows, read as “{found['layout']}”",
        f"{found['usable']:,} usable: {found['learned']:,} to learn, {found['held_out']:,} held "
        f"out; {found['repaired']:,} repaired, {found['duplicates']:,} left out as duplicates",
    ]
    lines += [f"refused {count:,}: {reason}" for reason, count in found["refused"].items()]
    if found["unused_columns"]:
        lines.append(f"Columns that are not used: {', '.join(found['unused_columns'])}")
    lines += found["notes"]
    for example in found["examples"]:
        lines += ["", f"{example['where']}, as the model reads it; [[what is learned]]:"]
        spans = example["spans"]
        lines.append("".join(f"[[{s['text']}]]" if s["learned"] else s["text"] for s in spans))
    return "\n".join([*lines, *([found["error"]] if found["error"] else [])])


def _used(layout: Layout) -> dict[str, Any]:
    """Give the columns in use by meaning."""
    words = ("name", "asked", "first_option")
    return {name: value for name, value in vars(layout).items() if value and name not in words}


def _examples(rows: Sequence[EncodedRow], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    spans = preview(tokenizer, [row.example for row in rows])
    return [
        {
            "row": row.row,
            "where": row.where,
            "system": row.conversation.system,
            "picture": row.conversation.picture,
            "turns": [_turn(turn) for turn in row.conversation.exchanges],
            "spans": [{"text": span.text, "learned": span.learned} for span in each],
        }
        for row, each in zip(rows, spans, strict=True)
    ]


def _turn(turn: Exchange) -> dict[str, Any]:
    """Give a turn; that it is a plain text is said of those alone."""
    return {name: value for name, value in vars(turn).items() if name != "plain" or value}
