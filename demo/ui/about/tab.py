"""The tab "About": what this is in three pictures, its limits, its figures, where it comes from.

The figures are those of `assets/benchmarks/`, which a benchmark wrote; none is typed here, and one
that was not measured is not shown.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from demo.ui.about.words import AboutWords
from demo.ui.html import render
from demo.ui.theme import ASSETS

RESULTS = ASSETS / "benchmarks"


@dataclass(frozen=True)
class BenchmarkFigure:
    """A figure of the tab: a row of a benchmark's file, and the row it is compared with."""

    file: str
    row: str
    peer: str
    words: tuple[str, str]  # the fields of `AboutWords` that say what the two are


FIGURES = (
    BenchmarkFigure(
        "decode",
        "ours, an adapter active in all layers",
        "llama.cpp Q8_0",
        ("figure_write", "figure_peer"),
    ),
    BenchmarkFigure("photo", "first word about a photo", "", ("figure_photo", "")),
    BenchmarkFigure(
        "shapes",
        "shapes, exact answers",
        "best possible without a picture",
        ("figure_shapes", "figure_blind"),
    ),
    BenchmarkFigure(
        "learn",
        "easy-vqa, zero-init gates, 100 steps",
        "easy-vqa, open gates, 100 steps",
        ("figure_zero", "figure_open"),
    ),
)


def build_about(words: AboutWords) -> gr.HTML:
    """Lay the tab out inside the current `gr.Tab`."""
    return gr.HTML(page(words), elem_id="about")


def page(words: AboutWords, results: Path = RESULTS) -> str:
    """Render the whole tab."""
    machine = _read(results / "decode.json").get("machine", {}).get("processor", "")
    told = words.figures_more.format(machine=machine) if machine else ""
    return render(
        "about.html", "page", words=words, figures=figures(words, results), figures_more=told
    )


def figures(words: AboutWords, results: Path = RESULTS) -> list[tuple[str, str, str]]:
    """Give (what, the figure, its peer's with what that is, or "")."""
    shown = []
    for figure in FIGURES:
        rows = {row["name"]: row for row in _read(results / f"{figure.file}.json").get("rows", ())}
        if figure.row not in rows:
            continue
        what, other = (getattr(words, name) if name else "" for name in figure.words)
        peer = rows.get(figure.peer)
        beside = f"{other}: {_amount(peer)}" if peer else ""
        shown.append((what, _amount(rows[figure.row]), beside))
    return shown


def _amount(row: dict[str, Any]) -> str:
    value, unit = row["median"], row["unit"]
    number = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{number} {unit}".replace("tok/s", "tokens/s")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
