"""What the benchmarks print, and the tables that the documents show of it.

`python -m demo.bench NAME --json > assets/benchmarks/NAME.json` for each benchmark, then
`python -m demo.bench.report` writes the tables of `docs/benchmarks.md` and the five figures of
`README.md`. No file, no table: a figure that was not measured is not shown.
"""

import argparse
import itertools
import json
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from demo.settings import ROOT, available_cores

README, DOCUMENT = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "assets" / "benchmarks"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
PACKAGES = (
    "torch",
    "numba",
    "transformers",
    "bitsandbytes",
    "open_clip_torch",
    "gradio",
    "llama-cpp-python",
    "peft",
)


def main() -> int:
    """Write the tables; with --check write nothing and return 1 when a document shows others."""
    parser = argparse.ArgumentParser(prog="python -m demo.bench.report", description=__doc__)
    parser.add_argument("--from", dest="files", nargs="*", type=Path, metavar="FILE.json")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if they differ")
    args = parser.parse_args()
    files = sorted(RESULTS.glob("*.json")) if args.files is None else args.files
    reports = [load(path) for path in files]
    status = 0
    for path, section in ((DOCUMENT, tables(reports)), (README, headline_table(reports))):
        old = path.read_text("utf-8")
        new = replaced(old, section)
        if args.check:
            status |= old != new
        else:
            path.write_text(new, "utf-8")
    return int(status)


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, with all its runs in `unit`.

    A name that begins with spaces belongs to the figure before it.
    """

    name: str
    unit: str
    runs: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float:
        """Return the value to quote."""
        return statistics.median(self.runs)


@dataclass(frozen=True)
class Bar:
    """What a figure has to reach: `least` or `most`, one of the two."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def wanted(self) -> str:
        """Return the bar as it is shown, like "≥ 1.2"."""
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"

    @property
    def met(self) -> bool:
        """Say whether the value reaches it."""
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"{self.name}: {self.value:.3g} ({self.wanted}) {verdict}"


@dataclass(frozen=True)
class BenchReport:
    """One run of one benchmark: where and when, what was measured, and what it has to reach."""

    benchmark: str
    rows: Sequence[Figure]
    bars: Sequence[Bar]
    machine: dict[str, str] = field(default_factory=lambda: machine())
    date: str = field(default_factory=lambda: date.today().isoformat())

    def text(self) -> str:
        """Return a table for a terminal."""
        names = max(len(row.name) for row in self.rows)
        lines = [f"{self.benchmark}, {self.date}", *(f"{k}: {v}" for k, v in self.machine.items())]
        lines.append("")
        for row in self.rows:
            spread = f"{min(row.runs):.4g} to {max(row.runs):.4g}" if len(row.runs) > 1 else ""
            value = f"{row.median:>10.4g} {row.unit:<8}"
            lines.append(f"{row.name:<{names}} {value} {spread:<20} {row.note}".rstrip())
        return "\n".join([*lines, "", *map(str, self.bars)])

    def to_json(self) -> str:
        """Return the same for a program."""
        rows = [{**asdict(row), "median": row.median} for row in self.rows]
        bars = [{**asdict(bar), "met": bar.met} for bar in self.bars]
        return json.dumps({**vars(self), "rows": rows, "bars": bars}, ensure_ascii=False)

    def shortfall(self) -> str:
        """Return the bars that were missed on one line; empty when none was."""
        return "; ".join(str(bar) for bar in self.bars if not bar.met)


def machine() -> dict[str, str]:
    """Return the processor, the cores and the versions that decide speed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": f"{processor()}, {available_cores()} cores",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {number}" for name, number in found.items()),
    }


def processor() -> str:
    """Return the processor's name and the vector units that matter to the kernels."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    known = ("avx2", "avx512f", "avx512_bf16", "amx_int8")
    units = [unit for unit in known if unit in facts.get("flags", "").split()]
    return " ".join([facts.get("model name", platform.machine()), *units])


def load(path: Path) -> BenchReport:
    """Return a report that `BenchReport.to_json` wrote.

    Raises:
        SystemExit: the file is not one.
    """
    try:
        fields = json.loads(path.read_text("utf-8"))
        rows = [
            Figure(row["name"], row["unit"], tuple(row["runs"]), row["note"])
            for row in fields["rows"]
        ]
        bars = [Bar(bar["name"], bar["value"], bar["least"], bar["most"]) for bar in fields["bars"]]
        return BenchReport(fields["benchmark"], rows, bars, fields["machine"], fields["date"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path.name} is not what a benchmark prints with --json.") from error


def replaced(document: str, section: str) -> str:
    """Return the document with `section` between its marks.

    Raises:
        SystemExit: a mark is missing.
    """
    if BEGIN not in document or END not in document:
        raise SystemExit(f"A document with figures needs the marks {BEGIN} and {END}.")
    before, rest = document.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{section}{END}{rest.split(END, 1)[1]}"


def tables(reports: Sequence[BenchReport]) -> str:
    """Return one table for each machine and day, the newest first; empty without reports."""

    def setting(report: BenchReport) -> tuple[str, list[str]]:
        return report.date, list(report.machine.values())

    ordered = sorted(reports, key=setting, reverse=True)
    groups = [list(group) for _, group in itertools.groupby(ordered, setting)]
    return "".join(f"{one_machine(group)}\n" for group in groups)


def one_machine(reports: Sequence[BenchReport]) -> str:
    """Return where and when, how many bars are met, and a line for each figure and each bar."""
    first = reports[0]
    facts = f"{first.machine['processor']}; Python {first.machine['python']}"
    lines = [
        f"Measured on {first.date}: {facts}, {first.machine['packages']}.",
        "",
        f"{summary([bar for report in reports for bar in report.bars])}.",
        "",
        "| | median | spread or bar | |",
        "|---|---|---|---|",
    ]
    for report in sorted(reports, key=lambda report: report.benchmark):
        lines.append(f"| **`{report.benchmark}`** | | | |")
        lines += [figure_line(row) for row in report.rows]
        lines += [bar_line(bar) for bar in report.bars]
    return "\n".join([*lines, ""])


def summary(bars: Sequence[Bar]) -> str:
    """Return how many bars are met, and the names of those that are not."""
    missed = [bar.name for bar in bars if not bar.met]
    met = f"{len(bars) - len(missed)} of {len(bars)} bars met"
    return f"{met}; missed: {', '.join(missed)}" if missed else met


def figure_line(row: Figure) -> str:
    """Return a table's line for a figure; one that belongs to the line above begins with a dash."""
    name = f"– {row.name.strip()}" if row.name.startswith(" ") else row.name
    spread = f"{number(min(row.runs))} to {number(max(row.runs))}" if len(row.runs) > 1 else ""
    return f"| {name} | {number(row.median)} {row.unit} | {spread} | {row.note} |".replace(
        "  ", " "
    )


def bar_line(bar: Bar) -> str:
    """Return a table's line for a bar, a missed one in bold."""
    verdict = "met" if bar.met else "**missed**"
    return f"| *{bar.name}* | {number(bar.value)} | {bar.wanted} | {verdict} |"


def number(value: float) -> str:
    """Return a value with its three first digits, and no more than there are."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Headline:
    """One of the figures that README shows, by the names of the rows it is read from.

    Attributes:
        command: of `python -m demo.bench`; its first word names the report.
        row: the figure's row.
        other: the row of what it is compared with; "" for nothing.
        text, other_text: what the two are, in README's words.
    """

    command: str
    text: str
    row: str
    other: str = ""
    other_text: str = ""


HEADLINES = (
    Headline(
        "decode --peers",
        "writing, one sequence, an adapter active in all layers",
        "ours, an adapter active in all layers",
        "llama.cpp Q8_0",
        "llama.cpp, Q8_0",
    ),
    Headline(
        "train --peers",
        "a training step of 16 texts of 48 tokens, all layers",
        "ours, 8-bit, all layers",
        "PEFT AdaptionPrompt, bf16, all layers",
        "PEFT in bf16",
    ),
    Headline("startup", "a second start, until its first token", "first token"),
    Headline(
        "memory",
        "memory at most, four conversations of 1,000 tokens",
        "peak memory",
        "  the same before the first message",
        "before the first message",
    ),
    Headline(
        "sight --photographs FOLDER",
        "full-size photographs rightly named in words (of 1,000 kinds)",
        "naming",
        "the tower, top-1",
        "its vision tower alone",
    ),
)


def headline_table(reports: Sequence[BenchReport]) -> str:
    """Return README's table of those headlines whose reports are there, and where they come from.

    Raises:
        SystemExit: a report lacks a headline's row.
    """
    found = {report.benchmark: report for report in reports}
    shown = [(h, found[h.command.split()[0]]) for h in HEADLINES if h.command.split()[0] in found]
    if not shown:
        return ""
    lines = ["| figure | | beside it | `python -m demo.bench …` |", "|---|---|---|---|"]
    for headline, report in shown:
        beside = ""
        if headline.other:
            beside = f"{headline.other_text}: {quoted(report, headline.other)}"
        own = f"**{quoted(report, headline.row)}**"
        lines.append(f"| {headline.text} | {own} | {beside} | `{headline.command}` |")
    places: dict[str, list[str]] = {}
    for headline, report in shown:
        place = f"{report.machine['processor']}, {report.date}"
        places.setdefault(place, []).append(headline.command.split()[0])
    where = "; ".join(f"`{'`, `'.join(names)}` on {place}" for place, names in places.items())
    return "\n".join([*lines, "", f"Measured: {where}.", ""])


def quoted(report: BenchReport, name: str) -> str:
    """Return the median of the first row of that name, with its unit.

    Raises:
        SystemExit: there is no such row.
    """
    for row in report.rows:
        if row.name == name:
            return f"{number(row.median)} {row.unit}"
    raise SystemExit(f"{report.benchmark}.json has no row {name.strip()!r} for README.")


if __name__ == "__main__":
    sys.exit(main())
