"""What every benchmark prints: the machine, a table, the bars, and the same as JSON."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version

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


@dataclass(frozen=True)
class Row:
    """One thing that was measured: all its runs, and how it compares."""

    name: str
    unit: str
    runs: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.runs)


@dataclass(frozen=True)
class Bar:
    """What a figure has to reach: `least` or `most`, one of the two."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        """Whether it does."""
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)

    def __str__(self) -> str:
        wanted = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        return f"{self.name}: {self.value:.3g} ({wanted}) {'met' if self.met else 'MISSED'}"


@dataclass(frozen=True)
class Report:
    """One run of one benchmark."""

    benchmark: str
    rows: Sequence[Row]
    bars: Sequence[Bar]
    machine: dict[str, str] = field(default_factory=lambda: machine())
    date: str = field(default_factory=lambda: date.today().isoformat())

    def text(self) -> str:
        """A table for a terminal."""
        names = max(len(row.name) for row in self.rows)
        lines = [f"{self.benchmark}, {self.date}", *(f"{k}: {v}" for k, v in self.machine.items())]
        lines.append("")
        for row in self.rows:
            spread = f"{min(row.runs):.4g} to {max(row.runs):.4g}" if len(row.runs) > 1 else ""
            figure = f"{row.median:>10.4g} {row.unit:<8}"
            lines.append(f"{row.name:<{names}} {figure} {spread:<20} {row.note}".rstrip())
        return "\n".join([*lines, "", *map(str, self.bars)])

    def to_json(self) -> str:
        """The same for a program."""
        rows = [{**asdict(row), "median": row.median} for row in self.rows]
        bars = [{**asdict(bar), "met": bar.met} for bar in self.bars]
        return json.dumps({**vars(self), "rows": rows, "bars": bars}, ensure_ascii=False)

    def shortfall(self) -> str:
        """The bars that were missed, one line; empty when none was."""
        return "; ".join(str(bar) for bar in self.bars if not bar.met)


def machine() -> dict[str, str]:
    """Processor, cores and the versions that decide speed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {number}" for name, number in found.items()),
    }


def processor() -> str:
    """The processor's name and the vector units that matter to the kernels."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    known = ("avx2", "avx512f", "avx512_bf16", "amx_int8")
    units = [unit for unit in known if unit in facts.get("flags", "").split()]
    return " ".join([facts.get("model name", platform.machine()), *units])
