"""What labels are compared with, and by how much they may be behind."""

import pytest

from demo.bench.taught import labels
from demo.bench.taught.label_files import Labelled
from demo.bench.taught.labels import REGRESSION, commonest, run_labels

LEARNED = [Labelled("red it is", "red"), Labelled("a red one", "red"), Labelled("red", "red"),
           Labelled("the blue sky", "blue"), Labelled("blue", "blue")]  # fmt: skip
JUDGED = [Labelled("red thing", "red"), Labelled("so blue", "blue"), Labelled("very blue", "blue")]


def test_the_commonest_label_of_what_was_learned():
    assert commonest(LEARNED, JUDGED) == pytest.approx(100 / 3)


def test_words_tell_labels():
    pytest.importorskip("sklearn", reason="comes with tests/peers.txt")
    assert labels.regression(LEARNED, JUDGED) == 100


@pytest.mark.parametrize(("ours", "met"), [(78.0, True), (77.9, False)])
def test_labels_may_be_two_points_behind(tmp_path, monkeypatch, ours, met):
    found = {"right": [ours], REGRESSION: [80.0], "PEFT LoRA, rank 8: right": [70.0]}
    monkeypatch.setattr(labels, "_of_file", lambda *_, **__: found)
    rows, bars = run_labels([tmp_path / "news.csv"], "balanced", 1, lora=True)
    assert [row.name for row in rows] == [f"news: {name}" for name in found]
    assert bars[0].met is met and bars[1].met and len(bars) == 2
