"""The HTML of the tab "Teach": what is counted, listed, cut, and said of a run."""

from dataclasses import replace

import pytest

from demo.finetune.data.report import DatasetReport, Lengths, RowNote
from demo.finetune.train.events import Estimated, Evaluated, Finished, Probed, RunHistory, Started
from demo.teaching.drafts import DatasetCheck
from demo.ui.strings import ENGLISH
from demo.ui.teach import html
from tests.unit.ui.snippets import CHECKED, JUDGED, history, run, step

WORDS = ENGLISH.teach


def test_a_compared_row_shows_its_picture_and_nothing_else() -> None:
    row = replace(JUDGED.rows[0], picture="UklGRg==")
    shown = html.compared(replace(JUDGED, rows=(row,)), WORDS)
    assert shown.count("<img") == 1 and 'src="data:image/webp;base64,UklGRg=="' in shown
    row = replace(row, picture='"><script>alert(1)</script>')  # a log that somebody wrote to
    shown = html.compared(replace(JUDGED, rows=(row,)), WORDS)
    assert "<script" not in shown and shown.count("<img") == 1


def test_probe_questions_show_the_pictures_of_the_first_look() -> None:
    first = Probed(0, ("what?", "and now?"), ("x", "y"), ("UklGRg==", ""))
    told = RunHistory().with_events([Started(99, 4, 11, 1), first, step(1), replace(first, step=1)])
    later = replace(told.probes[-1], pictures=())
    shown = html.live(run(), replace(told, probes=(first, later)), WORDS)
    assert shown.count("<img") == 1 and 'src="data:image/webp;base64,UklGRg=="' in shown
    assert shown.index("<img") < shown.index("what?") < shown.index("and now?")


def test_report_counts_and_lists() -> None:
    shown = html.report(CHECKED, WORDS)
    assert "<b>5</b><span>usable" in shown and "3 to 5 tokens a row" in shown
    assert "row 3 of" in shown and WORDS.few in shown
    many = tuple(RowNote(n, "why") for n in range(1, 21))
    report = DatasetReport(30, 10, "line", (), many, (), (), (), (), Lengths(1, 2, 3, 512))
    shown = html.report(DatasetCheck(report, 40, 0, 0, ()), WORDS)
    assert "line 8" in shown and "line 9" not in shown and "and 12 more" in shown
    assert WORDS.none_held_out in shown and WORDS.few not in shown


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("fits", WORDS.fits), ("tight", WORDS.tight), ("does not fit", WORDS.does_not_fit)],
)
def test_needs_say_whether_it_fits(verdict: str, said: str) -> None:
    shown = html.needs(Estimated(173_070, 696_376, 3 * 2**29, 150.0, verdict), WORDS)  # type: ignore[arg-type]
    for text in ("173,070", "680 kB", "1.5 GB", "2 min", said):
        assert text in shown


def test_times_and_sizes_as_a_person_says_them() -> None:
    assert [html.duration(s, WORDS) for s in (0, 89, 90, 5400)] == [
        "1 s",
        "89 s",
        "2 min",
        "1.5 h",
    ]
    assert [html.size(n) for n in (10, 2048, 5 * 2**20)] == ["10 B", "2.0 kB", "5.0 MB"]


def test_a_run_says_where_it_is() -> None:
    shown = html.live(run(), history(), WORDS)
    for text in ("Learning", "Step 2 of 4", "4 s left", "50%", "after 2 steps", "layer 2: 0.200"):
        assert text in shown
    assert shown.count("<svg") == 3  # losses, exact replies, rate
    assert "Number 2 in the line" in html.live(run("waiting", place=2), RunHistory(), WORDS)
    paused = html.live(run("paused", "It goes on."), history(), WORDS)
    assert "Paused" in paused and "It goes on." in paused
    over = history().with_events([Finished("done", 4, 2)])
    assert WORDS.judging in html.live(run(), over, WORDS) and over.seconds_left is None
    voice = RunHistory().with_events([Started(9, 4, 9, 1), Evaluated(0, 2.0, 0.0, True)])
    assert WORDS.exact not in html.live(run(), voice, WORDS)


def test_another_run_is_drawn_beside_it() -> None:
    longer = RunHistory().with_events([Started(90, 8, 9, 1), Evaluated(8, 1.5, 0.0, True)])
    alone = html.live(run(), history(), WORDS)
    shown = html.live(run(), history(), WORDS, ("pirate", longer))
    assert "key other" not in alone
    assert f'key other">{WORDS.held_out}, pirate</span>' in shown
    assert shown.count('class="other"') == 1  # one look, one dot
    assert ">8</text>" in shown and ">8</text>" not in alone  # as far as the longer one goes
    assert html.live(run(), history(), WORDS, ("new", RunHistory())) == alone


def test_gates_that_are_all_closed_are_drawn_closed() -> None:
    closed = replace(step(1), gates=(0.0, 0.0))
    assert html.live(run(), RunHistory().with_events([closed]), WORDS).count("--share:0.000") == 2
