"""What the matcher of questions is fitted on, and that fitting tells apart what can be told."""

import numpy as np
import torch

from checkpoints.recipes.questions.encoder import quantised
from checkpoints.recipes.questions.fit import SETS, Case, fitted, judged, report
from demo.questions.matcher import EVIDENCE, plain
from demo.settings import ROOT

EXAM = ROOT / "assets" / "benchmarks" / "teach"


def test_the_sets_are_whole_and_none_of_the_exam():
    paths = sorted(SETS.glob("*.txt"))
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    rows = [line.split("|") for line in lines if line[0] != "~"]
    assert len(paths) == 46 and len(rows) == 645 and {len(row) for row in rows} == {4, 5}
    assert len(lines) - len(rows) == 524 and sum(len(row) - 2 for row in rows) == 1760
    exam = [path.read_text("utf-8").splitlines() for path in sorted(EXAM.glob("*.txt"))]
    asked = {plain(line.strip("~").split("|")[0]) for part in exam for line in part}
    assert not asked & {plain(row[0]) for row in rows}


def test_rows_in_8_bits_are_near():
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    found = quantised("x", x)
    assert found["x.int8"].dtype == torch.int8
    back = found["x.int8"].float() * found["x.scale"].float()[:, None]
    assert (back - x).abs().max() < 0.02


def test_it_learns_which_of_a_few_is_asked_for():
    random = np.random.default_rng(0)
    cases = []
    for number in range(60):
        found = random.normal(size=(3, len(EVIDENCE))).astype(np.float32)
        right = number % 4 - 1
        found[:, 0] = -2
        if right >= 0:
            found[right, 0] = 2
        cases.append(Case("here", "otherwise" if right >= 0 else "near", found, right, "?"))
    outcome = judged(fitted(cases), cases)
    assert all((rated > 0) == (case.right >= 0) for case, rated, _ in outcome)
    assert "otherwise 100.0 %" in report(outcome) and "near 0.0 %" in report(outcome)
