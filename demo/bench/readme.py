"""README's table of figures, made from what the benchmarks printed with --json.

`python -m demo.bench NAME --json > assets/benchmarks/NAME.json` for each, then
`python -m demo.bench.readme`. No file, no table: a figure that was not measured is not there.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.bench.report import Bar, Report, Row

ROOT = Path(__file__).parent.parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "assets" / "benchmarks"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def main() -> int:
    """Writes the table. Exit status 1 when --check finds another one in README."""
    parser = argparse.ArgumentParser(prog="python -m demo.bench.readme", description=__doc__)
    parser.add_argument("--from", dest="files", nargs="*", type=Path, metavar="FILE.json")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    args = parser.parse_args()
    old = README.read_text("utf-8")
    files = sorted(RESULTS.glob("*.json")) if args.files is None else args.files
    new = replaced(old, table([load(path) for path in files]))
    if args.check:
        return int(old != new)
    README.write_text(new, "utf-8")
    return 0


def load(path: Path) -> Report:
    """A report as `Report.to_json` wrote it.

    Raises:
        SystemExit: the file is not one.
    """
    try:
        fields = json.loads(path.read_text("utf-8"))
        rows = [
            Row(row["name"], row["unit"], tuple(row["runs"]), row["note"]) for row in fields["rows"]
        ]
        bars = [Bar(bar["name"], bar["value"], bar["least"], bar["most"]) for bar in fields["bars"]]
        return Report(fields["benchmark"], rows, bars, fields["machine"], fields["date"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path.name} is not what a benchmark prints with --json.") from error


def replaced(readme: str, section: str) -> str:
    """README with `section` between its marks.

    Raises:
        SystemExit: a mark is missing.
    """
    if BEGIN not in readme or END not in readme:
        raise SystemExit(f"README.md needs the marks {BEGIN} and {END}.")
    before, rest = readme.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{section}{END}{rest.split(END, 1)[1]}"


def table(reports: Sequence[Report]) -> str:
    """One table for each machine and day, the newest first; empty without reports."""

    def setting(report: Report) -> tuple[str, list[str]]:
        return report.date, list(report.machine.values())

    ordered = sorted(reports, key=setting, reverse=True)
    groups = [list(group) for _, group in itertools.groupby(ordered, setting)]
    return "".join(f"{one_machine(group)}\n" for group in groups)


def one_machine(reports: Sequence[Report]) -> str:
    """Where and when, how many bars are met, and folded a line for each figure and each bar."""
    first = reports[0]
    facts = f"{first.machine['processor']}; Python {first.machine['python']}"
    seen = summary([bar for report in reports for bar in report.bars])
    lines = [
        f"Measured on {first.date}: {facts}, {first.machine['packages']}.",
        "",
        f"<details><summary>{seen}</summary>",
        "",
        "| | median | spread or bar | |",
        "|---|---|---|---|",
    ]
    for report in sorted(reports, key=lambda report: report.benchmark):
        lines.append(f"| **`{report.benchmark}`** | | | |")
        lines += [figure(row) for row in report.rows]
        lines += [bar_line(bar) for bar in report.bars]
    return "\n".join([*lines, "", "</details>", ""])


def summary(bars: Sequence[Bar]) -> str:
    """What a reader sees of a folded table."""
    missed = [bar.name for bar in bars if not bar.met]
    met = f"{len(bars) - len(missed)} of {len(bars)} bars met"
    return f"{met}; missed: {', '.join(missed)}" if missed else met


def figure(row: Row) -> str:
    """A line for what was measured; what belongs to the line above is set off by a dash."""
    name = f"– {row.name.strip()}" if row.name.startswith(" ") else row.name
    spread = f"{number(min(row.runs))} to {number(max(row.runs))}" if len(row.runs) > 1 else ""
    return f"| {name} | {number(row.median)} {row.unit} | {spread} | {row.note} |".replace(
        "  ", " "
    )


def bar_line(bar: Bar) -> str:
    """A line for what has to be reached, missed ones in bold."""
    wanted = f"≥ {bar.least:g}" if bar.least is not None else f"≤ {bar.most:g}"
    verdict = "met" if bar.met else "**missed**"
    return f"| *{bar.name}* | {number(bar.value)} | {wanted} | {verdict} |"


def number(value: float) -> str:
    """Three digits that count, and no more than are there."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
