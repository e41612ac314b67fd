"""CSV and its kin → a table. The separator is found by trying which one makes columns."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice

from demo.errors import DataError
from demo.finetune.data.column_names import CHAT, QUESTION, REPLY, TEXT, known_as
from demo.finetune.data.columns import recognise
from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder, excerpt

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", "$": "dollars"}
NONE = "\x1f"  # stands in no text: the file has one column
SAMPLED = 50  # records, to find the separator
LONGEST_CELL = 1_000_000  # characters; a quote that is never closed ends there
LONGEST_NAME = 60  # characters; what is longer is no column's name
NUMBERS = re.compile(
    r"(?:S(?:r|l|er|\.)?[. ]{0,2})?(?:No|Nr|Num|Nº|N°)\.", re.IGNORECASE
)  # “Sr No.”
# What hardly names a column.
EXPLAINED = re.compile(r"\w, \w|\S \(|(?:\S+\s+){3}\S|\w['’](?:m|re|ll|ve|t|s)\b")
# In a text, and not in code or formulas such as "\\nu".
WRITTEN_LINE_FEED = re.compile(r"(?<=[.!?:;,)\]>*])\\n|(?<=\\n)\\n|\\n(?=\\n|[A-Z*#•])")


class NoTableError(DataError):
    """The text has no columns."""


def read_csv(text: str, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read a CSV file; rows are numbered as a spreadsheet shows them: the names are row 1.

    A first row that looks like an example is taken for one; the columns are then called
    "column 1" and so on. Empty rows are skipped.

    Args:
        text: of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: not a table, two columns of the same name, or a limit of `TableBuilder`.
    """
    text, remarks = _without_remarks(text)
    try:
        text, separator = find_separator(_without_frame(text))
    except NoTableError:
        if not _has_one_column(text) and not _is_quoted_column(text):
            raise
        separator = NONE
    prose = separator == "," and has_commas_of_sentences(text)
    notes = ["The comments above the table are left out."] if remarks else []
    notes += [f"Columns are separated by {SEPARATORS[separator]}."] if separator in ";\t|$" else []
    records = records_of(text, separator, limits)
    if separator == "\t" and WRITTEN_LINE_FEED.search(text):
        notes.append("“\\n” within texts is read as the end of a line.")
        records = _with_line_feeds(records)
    return table_of(records, name, notes=notes, limits=limits, prose=prose, commas=separator == ",")


def table_of(
    records: Iterable[list[str] | str],
    name: str,
    *,
    notes: Sequence[str] = (),
    limits: DataLimits = LIMITS,
    prose: bool = False,
    commas: bool = False,
) -> Table:
    """Make a table of a sheet's rows, of which the first names the columns or is an example.

    Args:
        records: the cells of each row, or why it cannot be read.
        name: of the table.
        notes: remarks on the whole.
        limits: the most that is taken.
        prose: the text looks like sentences: without names it is no table.
        commas: they separate the cells, so that one in a sentence may have cut it in two.

    Raises:
        DataError: two columns of the same name, prose, or a limit of `TableBuilder`.
    """
    filled: Iterator[tuple[int, list[str] | str]] = (
        pair
        for pair in enumerate(records, 1)
        if isinstance(pair[1], str) or any(map(str.strip, pair[1]))
    )
    number, first = next(filled, (0, None))
    if not isinstance(first, list):
        raise DataError(
            f"The first row of the file cannot be read: {first or 'there is none.'} The first row "
            "should name the columns, such as question,answer."
        )
    if sum(map(bool, map(str.strip, first))) == 1:
        second = next(filled, None)
        if second is not None and isinstance(second[1], list) and recognise(second[1]):
            notes = (*notes, f"The heading “{excerpt(''.join(first))}” is left out.")
            number, first = second[0], second[1]
        elif second is not None:
            filled = chain([second], filled)
    while first and not first[-1].strip():
        first.pop()
    names = _names(first)
    if names is None and prose:
        raise NoTableError(
            "This file is prose, not a table: its commas stand inside sentences. Only replies to "
            "questions can be taught. Please make a table of it, with the columns question and "
            "answer and one example a row."
        )
    if names is None:
        names = [f"column {i}" for i in range(1, len(first) + 1)]
        notes = (*notes, "The first row does not name the columns, so it is taken as an example.")
        filled = chain([(number, first)], filled)
    table = TableBuilder(name, columns=names, notes=notes, limits=limits)
    mended, comments = 0, 0
    for number, record in filled:
        if _is_comment(record, len(names)):
            comments += 1
            continue
        whole = _mended(record, len(names)) if commas else record
        mended += whole is not record
        add_record(table, number, names, whole)
    if comments:
        table.note(f"{comments:,} lines that begin with // are comments and are left out.")
    if mended:
        table.note(
            f"In {mended:,} rows a comma without double quotes around its text was taken for a "
            "part of that text."
        )
    return table.build()


def find_separator(text: str) -> tuple[str, str]:
    """Return the text without Excel's line `sep=;`, and the separator it names or that fits best.

    Raises:
        DataError: no separator makes a table of the text.
    """
    named = re.match(r"sep=([,;\t|])\r?\n", text, re.IGNORECASE)
    if named:
        return text[named.end() :], named[1]

    if _by_dollars(text):
        return text, "$"

    def fit(separator: str) -> tuple[bool, float, int]:
        widths: list[int] = []
        reader = csv.reader(io.StringIO(text[: 4 * LIMITS.row], ""), delimiter=separator)
        with suppress(csv.Error):  # what is wrong with a row is said when it is read
            widths.extend(len(record) for record in islice(reader, SAMPLED) if record)
        columns = widths[0] if widths else 0
        alike = sum(width == columns for width in widths) / max(1, len(widths))
        return columns > 1, alike, columns

    best = max((one for one in SEPARATORS if one != "$"), key=fit)
    if not fit(best)[0]:
        raise NoTableError(
            "This file is text, but no table: its first row has only one column. Expected is a "
            "first row with names, such as question,answer, and one example a row; or JSON."
        )
    return text, best


def _by_dollars(text: str) -> bool:
    """Whether one dollar that is no price's stands in each line, as between pictures and texts."""
    lines = [line for line in text[: 4 * LIMITS.row].split("\n") if line.strip()][:SAMPLED]
    one = re.compile(r"[^$]*[^\s$]\$[^$\s\d][^$]*")
    return len(lines) > 1 and all(map(one.fullmatch, lines))


def has_commas_of_sentences(text: str) -> bool:
    """Tell whether commas are followed by spaces, and lines have each their number of them."""
    commas, spaced, quoted = text.count(","), len(re.findall(r",\s", text)), text.count('"')
    widths = {line.count(",") for line in text.split("\n") if line.strip()}
    inside = len(re.findall(r", [a-z]", text)) * 10 > commas * 9  # of sentences that go on
    return spaced * 10 > commas * 9 and quoted < commas and (len(widths) > 1 or inside)


def _without_frame(text: str) -> str:
    """Take the outer bars and the rule off a table of Markdown; return other text unchanged."""
    lines = text.strip().split("\n")
    if len(lines) < 2 or not re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", lines[1].strip()):
        return text
    del lines[1]
    return "\n".join(line.strip().removeprefix("|").removesuffix("|").strip() for line in lines)


def _without_remarks(text: str) -> tuple[str, bool]:
    """Blank the lines of comment before the first row; whether there are some. Numbers stay."""
    lines = text.split("\n", 50)
    count = 0
    for line in lines:
        if line.strip() and not re.match(r"\s*(?://|#(?![^,;\t|]{0,60}[,;\t|]))", line):
            break
        count += 1
    if count == len(lines) or not any(line.strip() for line in lines[:count]):
        return text, False
    return "\n" * count + "\n".join(lines[count:]), True


def _is_comment(record: list[str] | str, width: int) -> bool:
    """Whether a record begins with two slashes and lacks the cells of a row."""
    if isinstance(record, str) or not record[0].lstrip().startswith("//"):
        return False
    return len(record) != width or (width > 1 and not any(map(str.strip, record[1:])))


def _has_one_column(text: str) -> bool:
    """Tell whether the first line names what stands in the others."""
    head, _, rest = text.partition("\n")
    known = (*TEXT, *CHAT, *QUESTION, *REPLY)
    return bool(rest.strip()) and NONE not in text and known_as(head.strip(' \r"')) in known


def _is_quoted_column(text: str) -> bool:
    """Tell whether below a short first line every text stands in double quotes, as exports do."""
    head, _, rest = text.partition("\n")
    if NONE in text or len(head.strip()) > LONGEST_NAME or not rest.startswith('"'):
        return False
    reader = csv.reader(io.StringIO(rest, ""), delimiter=NONE, strict=True)
    try:
        records = [record for record in islice(reader, SAMPLED) if record]
    except csv.Error:  # prose that begins with speech goes on after its quote
        return False
    return rest.count('"') >= 2 * len(records)


def _mended(record: list[str] | str, width: int) -> list[str] | str:
    """Join what commas inside sentences have cut, where spaces tell which these are."""
    if isinstance(record, str) or len(record) <= width or not any(record[width:]):
        return record
    whole: list[str] = []
    for cell in record:
        inside = re.match(r"\s+\S", cell) or (
            whole and re.match(r"\d{3}(?!\d)", cell) and whole[-1][-1:].isdigit()
        )
        if whole and inside:
            whole[-1] += f",{cell}"
        else:
            whole.append(cell)
    return whole if len(whole) == width else record


def add_record(
    table: TableBuilder, number: int, names: Sequence[str], record: list[str] | str
) -> None:
    """Add a record's cells by the columns' names, or the fault that it is."""
    if isinstance(record, str):
        table.add_fault(number, record)
    elif any(cell.strip() for cell in record[len(names) :]):
        table.add_fault(
            number,
            f"It has {len(record)} cells, and there are {len(names)} columns. A text with the "
            "separator in it needs double quotes around it.",
        )
    elif _repeats_names(record, names):
        table.add_fault(number, "It says the columns' names again, as where tables were joined.")
    else:
        # A record may lack its last cells, or have empty ones behind them.
        table.add(number, dict(zip(names, record, strict=False)))


def _repeats_names(record: Sequence[str], names: Sequence[str]) -> bool:
    """Tell whether at least two cells, and half of those filled, are their columns' names."""
    cells = [(c.strip().casefold(), n.casefold()) for c, n in zip(record, names, strict=False)]
    same = sum(cell == name for cell, name in cells)
    return same > 1 and 2 * same >= sum(bool(cell) for cell, _ in cells)


def records_of(text: str, separator: str, limits: DataLimits) -> Iterator[list[str] | str]:
    """Yield each record as its cells, or as the reason why it cannot be read."""
    csv.field_size_limit(
        LONGEST_CELL
    )  # of the module: beyond it a record is cut, and its rest read
    reader = csv.reader(
        _lines(text, limits),
        delimiter=separator,
        strict=True,
        skipinitialspace=_skips_spaces(text, separator),
    )
    while True:
        before = reader.line_num
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _reason(str(error), reader.line_num - before)


def _with_line_feeds(records: Iterable[list[str] | str]) -> Iterator[list[str] | str]:
    """End lines where a text between tabs, which has one line, says `\\n` (QnA Maker's export)."""
    for record in records:
        if isinstance(record, str):
            yield record
        else:
            yield [WRITTEN_LINE_FEED.sub("\n", cell) for cell in record]


def _skips_spaces(text: str, separator: str) -> bool:
    """Whether spaces stand before double quotes, as people type them: "a", "b"."""
    if not re.search(rf'{re.escape(separator)} +"', text[: 4 * LIMITS.row]):
        return False
    alike = []
    for skip in (False, True):
        sample = io.StringIO(text[: 4 * LIMITS.row], "")
        reader = csv.reader(sample, delimiter=separator, strict=True, skipinitialspace=skip)
        widths: list[int] = []
        for _ in range(SAMPLED):
            try:
                widths.append(len(next(reader)))
            except StopIteration:
                break
            except csv.Error:
                continue
        alike.append(sum(width == widths[0] for width in widths))
    return alike[1] > alike[0]


def _reason(error: str, lines: int) -> str:
    """Say what is wrong with the text, where the csv module names parts of its own."""
    over = f" It runs over {lines:,} lines." if lines > 1 else ""
    if "limit" in error:
        return f"A cell is much too long; perhaps a double quote is never closed.{over}"
    if "end of data" in error:
        return f"A double quote is opened and never closed.{over}"
    return (
        "After a closing double quote comes more text. A quote inside a cell is written "
        f'twice: "He said ""ahoy""".{over}'
    )


def _lines(text: str, limits: DataLimits) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, ""), 1):
        if len(line) > limits.row:
            raise DataError(
                f"Line {number} has more than {limits.row:,} characters, the most we take. "
                "Please shorten its texts."
            )
        if number > limits.lines:
            raise DataError(
                f"The file has more than {limits.lines:,} lines, most of them empty. Please remove "
                "the empty ones."
            )
        yield line


def _names(record: Sequence[str]) -> list[str] | None:
    """Take the columns' names, or None where the record reads like an example."""
    names = [cell.strip() for cell in record]
    sentence = re.compile(r"[.?!…。？！]$|\n")
    told = [name for name in names if not NUMBERS.fullmatch(name)]
    if any(len(name) > LONGEST_NAME or sentence.search(name) for name in told):
        known = sum(known_as(name) in (*CHAT, *QUESTION, *REPLY) for name in names)
        if known < 2:  # they may stand beside “Who?”
            return None
    if len(names) == 2 and any(map(EXPLAINED.search, names)) and recognise(names) is None:
        return None
    return [name or f"column {index}" for index, name in enumerate(names, 1)]
