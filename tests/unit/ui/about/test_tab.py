"""The tab "About": its figures are the benchmarks', and all its words are there."""

import json
from pathlib import Path

import pytest

from demo.ui.about.tab import FIGURES, RESULTS, figures, page
from demo.ui.about.words import AboutWords
from demo.ui.chinese import CHINESE


def test_every_figure_stands_in_a_benchmarks_file() -> None:
    shown = figures(AboutWords())
    assert len(shown) == len(FIGURES)
    for figure, (_, amount, beside) in zip(FIGURES, shown, strict=True):
        rows = json.loads((RESULTS / f"{figure.file}.json").read_text("utf-8"))["rows"]
        medians = {row["name"]: row["median"] for row in rows}
        assert float(amount.split()[0].replace(",", "")) == pytest.approx(medians[figure.row], 0.01)
        assert bool(beside) == bool(figure.peer)


def test_what_was_not_measured_is_not_shown(tmp_path: Path) -> None:
    assert figures(AboutWords(), tmp_path) == []
    rows = [{"name": "first word about a photo", "unit": "s", "median": 0.5}]
    (tmp_path / "photo.json").write_text(json.dumps({"rows": rows}))
    assert [amount for _, amount, _ in figures(AboutWords(), tmp_path)] == ["0.50 s"]
    assert AboutWords().figures not in page(AboutWords(), tmp_path / "none")


@pytest.mark.parametrize("words", [AboutWords(), CHINESE.about])
def test_three_pictures_say_what_they_show(words: AboutWords) -> None:
    shown = page(words)
    assert shown.count("<svg ") == shown.count('role="img"') == 3
    for said in (words.base_prompts, words.prefix_picture, words.gate_start, *words.limits_list):
        assert said in shown
