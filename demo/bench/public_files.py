"""What becomes of public data sets: `python -m demo.bench.public_files FILE …`.

Each file is read and checked as a training would, and counted in a row of a table: what is usable,
what is refused and why, which columns are not used. `TITLE=FILE` gives a file another name, and
`--write docs/data.md` puts the table there.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from demo.atomic_file import replace_file
from demo.errors import DataError
from demo.finetune.data.column_doubts import why_unknown
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.dataset import CheckSettings
from demo.finetune.data.read import read_table
from demo.finetune.data.summary import summarise
from demo.finetune.data.table import NO_LIMITS
from demo.llama.base import open_base
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.settings import Settings

BEGIN, END = "<!-- files -->", "<!-- /files -->"
HEAD = (
    "| file | read as | rows | usable | refused, and why | not used |",
    "|---|---|---|---|---|---|",
)
MOST_REASONS = 4  # of a file, the commonest
LONGEST = 90  # characters of a reason


def main() -> int:
    """Print the table, or put it into a document; return 1 where a file is not there."""
    parser = argparse.ArgumentParser(prog="python -m demo.bench.public_files", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("files", nargs="+", metavar="[TITLE=]FILE")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help=f"between {BEGIN} and {END}")
    parser.add_argument("--llama", help="as in app.py")
    args = parser.parse_args()
    named = [(title, Path(path)) for title, _, path in map(_split, args.files)]
    gone = [str(path) for _, path in named if not path.exists()]
    if gone:
        print(f"There is no file “{gone[0]}”. Please check the path.", file=sys.stderr)
        return 1
    settings = Settings(llama=args.llama)
    tokenizer = open_base(settings.llama, settings.cache, lambda message, share: None).tokenizer
    lines = [*HEAD, *(row_of(title, path, tokenizer) for title, path in named)]
    if not args.write:
        print("\n".join(lines))
        return 0
    text = args.write.read_text("utf-8")
    before, middle, after = text.partition(BEGIN)
    _, end, after = after.partition(END)
    if not (middle and end):
        print(f"{args.write.name} has no {BEGIN} with {END} after it.", file=sys.stderr)
        return 1
    with replace_file(args.write) as unfinished:
        unfinished.write_text("\n".join([f"{before}{BEGIN}", *lines, f"{END}{after}"]), "utf-8")
    return 0


def row_of(title: str, path: Path, tokenizer: Tokenizer) -> str:
    """Return the table's row of a file, or of a folder."""
    try:
        table = read_table(path, title, NO_LIMITS)
        layout = recognise_table(table)
        if layout is None:
            return _drawn(title, "asked about", len(table.rows), 0, {why_unknown(table.columns): 0})
        found: dict[str, Any] = summarise(table, layout, tokenizer, CheckSettings())
    except DataError as error:
        return _drawn(title, "refused", 0, 0, {str(error): 0})
    reasons = dict(found["refused"])
    if found["duplicates"]:
        reasons["the same as another row"] = found["duplicates"]
    unused = " ".join(f"`{name}`" for name in found["unused_columns"][:12])
    return _drawn(title, layout.name, found["rows"], found["usable"], reasons, unused)


def _split(text: str) -> tuple[str, str, str]:
    title, named, path = text.partition("=")
    return (title, named, path) if named else (Path(text).name, "", text)


def _drawn(
    title: str, kind: str, rows: int, usable: int, reasons: dict[str, int], unused: str = ""
) -> str:
    most = sorted(reasons.items(), key=lambda pair: -pair[1])
    said = [f"{count:,}: {_short(text)}" if count else _short(text) for text, count in most]
    rest = len(said) - MOST_REASONS
    said = [*said[:MOST_REASONS], *([f"and {rest} other reasons"] if rest > 0 else [])]
    return f"| `{title}` | {kind} | {rows:,} | {usable:,} | {'; '.join(said)} | {unused} |"


def _short(reason: str) -> str:
    """Give a reason's first sentence, fit for a cell of a table."""
    first = re.split(r"(?<=[.:]) ", reason)[0].rstrip(".:").replace("|", "\\|")
    return first if len(first) <= LONGEST else f"{first[:LONGEST]}…"


if __name__ == "__main__":
    sys.exit(main())
