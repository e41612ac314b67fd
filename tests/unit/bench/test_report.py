"""What the benchmarks make of their figures: reports, tables, the accounts of a kernel."""

import argparse
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from demo.bench import learning as curve
from demo.bench import report as reports
from demo.bench import speed as train
from demo.bench.footprint import mappings
from demo.bench.report import Bar, BenchReport, Figure
from demo.bench.serving import slope

MACHINE = {"processor": "Chip avx2, 2 cores", "python": "3.12.1", "packages": "torch 2.14.1"}
DECODE = BenchReport(
    "decode",
    [
        Figure("ours", "tok/s", (140.26, 150.0, 143.1)),
        Figure("  a part", "s", (0.01234,), "a note"),
    ],
    [Bar("ours / other", 1.25, least=1.2), Bar("lateness, ms", 11.5, most=10)],
    MACHINE,
    "2026-11-24",
)
SMAPS = """\
7f00-7f10 r--p 00000000 08:01 5 /cache/weights.safetensors
Size:               4096 kB
Rss:                2048 kB
Private_Dirty:         0 kB
VmFlags: rd mr
7f20-7f30 rw-p 00000000 00:00 0
Size:               1024 kB
Rss:                1024 kB
Private_Dirty:      1024 kB
"""


def saved(report: BenchReport, path: Path) -> Path:
    path.write_text(report.to_json(), "utf-8")
    return path


def shipped() -> list[BenchReport]:
    return [reports.load(path) for path in sorted(reports.RESULTS.glob("*.json"))]


def test_the_documents_show_what_the_files_hold_and_nothing_else():
    for path, section in (
        (reports.DOCUMENT, reports.tables(shipped())),
        (reports.README, reports.headline_table(shipped())),
    ):
        text = path.read_text("utf-8")
        assert reports.replaced(text, section) == text, path.name


def test_every_percentage_of_readme_was_measured():
    before, after = reports.README.read_text("utf-8").split(reports.BEGIN)
    text = before + after.split(reports.END)[1]
    measured = [row.median for report in shipped() for row in report.rows if row.unit == "%"]
    told = re.findall(r"(\d+(?:\.(\d+))?) %", text)
    assert len(told) > 5
    for shown, digits in told:
        assert any(f"{value:.{len(digits)}f}" == shown for value in measured), shown


def test_a_headline_is_read_from_its_rows():
    headline = reports.Headline("decode --peers", "writing", "ours", "  a part", "its part")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "HEADLINES", (headline, reports.Headline("serve", "", "")))
        assert reports.headline_table([DECODE]).splitlines()[2:] == [
            "| writing | **143 tok/s** | its part: 0.0123 s | `decode --peers` |",
            "",
            "Measured: `decode` on Chip avx2, 2 cores, 2026-11-24.",
        ]
        assert reports.headline_table([]) == ""
        patch.setattr(reports, "HEADLINES", (reports.Headline("decode", "", "theirs"),))
        with pytest.raises(SystemExit, match="decode.json has no row 'theirs'"):
            reports.headline_table([DECODE])


def test_check_tells_when_a_document_shows_other_figures(tmp_path, monkeypatch):
    for name in ("README", "DOCUMENT"):
        path = tmp_path / f"{name}.md"
        path.write_text(f"{reports.BEGIN}\n{reports.END}\n", "utf-8")
        monkeypatch.setattr(reports, name, path)
    monkeypatch.setattr(reports, "HEADLINES", (reports.Headline("decode", "writing", "ours"),))
    file = str(saved(DECODE, tmp_path / "decode.json"))
    for flags, status in ((["--check"], 1), ([], 0), (["--check"], 0)):
        monkeypatch.setattr(sys, "argv", ["report", "--from", file, *flags])
        assert reports.main() == status
    assert "**143 tok/s**" in (tmp_path / "README.md").read_text("utf-8")
    assert "1 of 2 bars met" in (tmp_path / "DOCUMENT.md").read_text("utf-8")


def test_a_report_comes_back_from_its_file(tmp_path):
    assert reports.load(saved(DECODE, tmp_path / "decode.json")) == DECODE


def test_the_table_has_every_figure_and_every_bar():
    lines = reports.tables([DECODE]).splitlines()
    measured = "Measured on 2026-11-24: Chip avx2, 2 cores; Python 3.12.1, torch 2.14.1."
    assert lines[0] == measured
    assert lines[1:4] == ["", "1 of 2 bars met; missed: lateness, ms.", ""]
    assert lines[6:] == [
        "| **`decode`** | | | |",
        "| ours | 143 tok/s | 140 to 150 | |",
        "| – a part | 0.0123 s | | a note |",
        "| *ours / other* | 1.25 | ≥ 1.2 | met |",
        "| *lateness, ms* | 11.5 | ≤ 10 | **missed** |",
        "",
    ]


def test_other_machines_and_days_have_tables_of_their_own():
    later = BenchReport("serve", DECODE.rows, [], MACHINE, "2026-12-01")
    other = BenchReport("switch", DECODE.rows, [], {**MACHINE, "python": "3.11.7"}, "2026-11-24")
    same = BenchReport("memory", DECODE.rows, [], MACHINE, "2026-11-24")
    text = reports.tables([DECODE, later, other, same])
    assert [line for line in text.splitlines() if "Measured" in line or "**`" in line] == [
        "Measured on 2026-12-01: Chip avx2, 2 cores; Python 3.12.1, torch 2.14.1.",
        "| **`serve`** | | | |",
        "Measured on 2026-11-24: Chip avx2, 2 cores; Python 3.12.1, torch 2.14.1.",
        "| **`decode`** | | | |",
        "| **`memory`** | | | |",
        "Measured on 2026-11-24: Chip avx2, 2 cores; Python 3.11.7, torch 2.14.1.",
        "| **`switch`** | | | |",
    ]


def test_without_files_there_is_no_table():
    text = f"above\n{reports.BEGIN}\nold\n{reports.END}\nbelow\n"
    assert reports.replaced(text, reports.tables([])) == (
        f"above\n{reports.BEGIN}\n{reports.END}\nbelow\n"
    )


def test_what_cannot_be_read_or_placed_is_named(tmp_path):
    path = tmp_path / "decode.json"
    path.write_text(json.dumps({"rows": []}))
    with pytest.raises(SystemExit, match="decode.json is not what a benchmark prints"):
        reports.load(path)
    with pytest.raises(SystemExit, match="needs the marks"):
        reports.replaced("no marks", "")


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (0.01234, "0.0123"), (99.96, "100"), (1234.5, "1,234")]
)
def test_figures_have_three_digits(value, shown):
    assert reports.number(value) == shown


def test_the_weights_are_told_from_the_rest_of_the_memory():
    weights, all_of_it = mappings(SMAPS, "weights.safetensors"), mappings(SMAPS, "")
    assert (weights.resident, weights.dirty) == (2.0, 0.0)
    assert (all_of_it.resident, all_of_it.dirty) == (3.0, 1.0)


def test_growth_is_told_from_noise():
    samples = [(minute / 10, 100 + 3 * minute / 10 + (-1) ** minute) for minute in range(101)]
    assert slope(samples) == pytest.approx(3, abs=0.1)


def test_curves_may_differ_by_what_two_starts_do():
    fall = [4.0, 3.0, 2.5, 1.5]
    tied = [fall, [nats + 0.2 for nats in fall]]
    better = [[nats - 0.5 for nats in losses] for losses in tied]
    rows, bars = curve.compared(better, tied, [[nats + 0.1 for nats in losses] for losses in tied])
    assert [row.runs for row in rows[:3]] == [
        pytest.approx((3.0, 3.2)),
        pytest.approx((3.5, 3.7)),
        pytest.approx((3.6, 3.8)),
    ]
    assert len(rows) == 3 * curve.POINTS and rows[-1].name.endswith("a layer, steps 3 to 4")
    first, apart = bars
    assert first.value == pytest.approx(100 * (1 - 4.0 / 4.1)) and not first.met
    assert apart.value == pytest.approx(0.5) and apart.met
    worse = [[nats + 0.3 for nats in losses] for losses in tied]
    assert not curve.compared(better, tied, worse)[1][1].met


def test_tied_gates_move_alike_and_as_far():
    slope = torch.tensor([[1.0, 2.0, 3.0, -2.0], [0.0, 1.0, 0.0, 0.0]])
    tied = curve._tie(slope)
    assert torch.allclose(tied, tied[:, :1].expand(2, 4))
    assert torch.allclose(tied.norm(dim=1), slope.sum(1).abs())


def test_a_training_step_is_compared_the_right_way_round(monkeypatch):
    seconds = {"ours": 1.0, "peft-bf16": 2.5, "peft": 3.0}

    def compare(names, task, size, batch, runs, *flags):
        faster = 2 if flags else 1
        return {name: (faster * size * batch / seconds[name],) * runs for name in names}

    monkeypatch.setattr(train, "compare", compare)
    arguments = argparse.ArgumentParser()
    train.add_train_arguments(arguments)
    report = train.run_train(arguments.parse_args(["--peers"]))
    assert [row.median for row in report.rows] == [1.0, 2.5, 3.0, 0.5, 1.25]
    assert [bar.value for bar in report.bars] == [2.5, 3.0, 2.5]
    assert [bar.met for bar in report.bars] == [True, False, False]
