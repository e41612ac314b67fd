"""The tab "Teach" without a browser: its words, its markup, its charts."""

import re
import string
from dataclasses import fields, replace
from pathlib import Path

import pytest

from demo.drafts import Draft
from demo.finetune.events import (
    Compared,
    Estimated,
    Evaluated,
    Finished,
    Judged,
    Probed,
    Started,
    Step,
)
from demo.finetune.layouts import Layout
from demo.finetune.preview import Span
from demo.finetune.report import Conflict, Lengths, Report, RowNote
from demo.finetune.rows import make_row, make_table
from demo.finetune.runs import Run
from demo.finetune.story import Story
from demo.preparing import Checked
from demo.ui import teach_markup as markup
from demo.ui.charts import Line, chart, smoothed, strip, thinned
from demo.ui.strings import ENGLISH
from demo.ui.teach_live import live
from demo.ui.teach_run import known
from demo.work import Progress

UI = Path(__file__).parents[2] / "demo" / "ui"
WORDS = ENGLISH.teach
NASTY = '<script>alert(1)</script><img src=x onerror="alert(1)"> **b** ${1+1}'
NOTE = (RowNote(3, NASTY, NASTY),)
REPORT = Report(
    9, 5, "row", NOTE, NOTE, NOTE, (Conflict(NASTY, (NASTY,)),), NOTE, (NASTY,),
    Lengths(3, 4, 5, 512), (NASTY,),
)  # fmt: skip
CHECKED = Checked(REPORT, 4, 1, 2, ((Span(NASTY, False), Span(NASTY, True)),))
JUDGED = Judged(
    {"held_out_loss_base": 2.0, "held_out_loss": 0.5, "perplexity_base": 20.0, "perplexity": 21.0},
    (Compared(NASTY, NASTY, NASTY, NASTY),),
)


def step(number: int, loss: float = 1.0) -> Step:
    return Step(number, loss, 5e-3, (0.1, 0.2), 2.0)


def run(state: str = "running", message: str = "", place: int = 0) -> Run:
    return Run("0" * 16, NASTY, state, message, place, False, 0.0, None)  # type: ignore[arg-type]


def story() -> Story:
    looks = [Evaluated(0, 2.0, 0.0, True), Evaluated(2, 1.0, 0.5, True)]
    said = [Probed(0, (NASTY,), (NASTY,)), Probed(2, (NASTY,), (NASTY,))]
    return Story().with_events([Started(99, 4, 11, 1), *looks, step(1), step(2), *said])


def test_every_word_is_used_once_and_reads_as_a_sentence() -> None:
    code = "".join(path.read_text() for path in UI.glob("teach*.py"))
    states = ("waiting", "preparing", "running", "paused", "stopping")
    states += ("done", "stopped", "failed", "interrupted")
    names = re.findall(r"^    (\w+): ", (UI / "teach_words.py").read_text(), re.MULTILINE)
    assert len(names) == len(set(names)) == len(fields(WORDS))
    for name in names:
        value = getattr(WORDS, name)
        assert (
            name in states
            or re.search(rf"words\.{name}\b|strings\.teach\.{name}\b", code)
            or (name == "tab")
        ), name
        if isinstance(value, str):
            assert value == value.strip()
            assert all(part != "" for _, part, _, _ in string.Formatter().parse(value))


def test_text_of_strangers_is_only_text() -> None:
    table = make_table(NASTY, [make_row(1, {"question": NASTY, "answer": NASTY})])
    shown = (
        markup.report(CHECKED, WORDS),
        markup.chosen(Draft(table, Layout(NASTY, "question", "answer")), WORDS),
        markup.compared(JUDGED, WORDS),
        markup.problem(NASTY),
        markup.notice(NASTY),
        markup.working(Progress(NASTY, 0.4)),
        markup.quiet(NASTY),
        live(run(message=NASTY), story(), WORDS),
    )
    for html in shown:
        assert "<script" not in html and "<img" not in html and 'onerror="' not in html


def test_a_compared_row_shows_its_picture_and_nothing_else() -> None:
    row = replace(JUDGED.rows[0], picture="UklGRg==")
    html = markup.compared(replace(JUDGED, rows=(row,)), WORDS)
    assert html.count("<img") == 1 and 'src="data:image/webp;base64,UklGRg=="' in html
    row = replace(row, picture='"><script>alert(1)</script>')  # a log that somebody wrote to
    html = markup.compared(replace(JUDGED, rows=(row,)), WORDS)
    assert "<script" not in html and html.count("<img") == 1


def test_probe_questions_show_the_pictures_of_the_first_look() -> None:
    first = Probed(0, ("what?", "and now?"), ("x", "y"), ("UklGRg==", ""))
    told = Story().with_events([Started(99, 4, 11, 1), first, step(1), replace(first, step=1)])
    later = replace(told.probes[-1], pictures=())
    html = live(run(), replace(told, probes=(first, later)), WORDS)
    assert html.count("<img") == 1 and 'src="data:image/webp;base64,UklGRg=="' in html
    assert html.index("<img") < html.index("what?") < html.index("and now?")


def test_report_counts_and_lists() -> None:
    html = markup.report(CHECKED, WORDS)
    assert "<b>5</b><span>usable" in html and "3 to 5 tokens a row" in html
    assert "row 3 of" in html and WORDS.few in html
    many = tuple(RowNote(n, "why") for n in range(1, 21))
    report = Report(30, 10, "line", (), many, (), (), (), (), Lengths(1, 2, 3, 512))
    html = markup.report(Checked(report, 40, 0, 0, ()), WORDS)
    assert "line 8" in html and "line 9" not in html and "and 12 more" in html
    assert WORDS.none_held_out in html and WORDS.few not in html


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("fits", WORDS.fits), ("tight", WORDS.tight), ("does not fit", WORDS.does_not_fit)],
)
def test_needs_say_whether_it_fits(verdict: str, said: str) -> None:
    html = markup.needs(Estimated(173_070, 696_376, 3 * 2**29, 150.0, verdict), WORDS)  # type: ignore[arg-type]
    for text in ("173,070", "680 kB", "1.5 GB", "2 min", said):
        assert text in html


def test_times_and_sizes_as_a_person_says_them() -> None:
    assert [markup.duration(s, WORDS) for s in (0, 89, 90, 5400)] == [
        "1 s",
        "89 s",
        "2 min",
        "1.5 h",
    ]
    assert [markup.size(n) for n in (10, 2048, 5 * 2**20)] == ["10 B", "2.0 kB", "5.0 MB"]


def test_a_run_says_where_it_is() -> None:
    html = live(run(), story(), WORDS)
    for text in ("Learning", "Step 2 of 4", "4 s left", "50%", "after 2 steps", "layer 2: 0.200"):
        assert text in html
    assert html.count("<svg") == 3  # losses, exact replies, rate
    assert "Number 2 in the line" in live(run("waiting", place=2), Story(), WORDS)
    paused = live(run("paused", "It goes on."), story(), WORDS)
    assert "Paused" in paused and "It goes on." in paused
    over = story().with_events([Finished("done", 4, 2)])
    assert WORDS.judging in live(run(), over, WORDS) and over.seconds_left is None
    voice = Story().with_events([Started(9, 4, 9, 1), Evaluated(0, 2.0, 0.0, True)])
    assert WORDS.exact not in live(run(), voice, WORDS)


def test_a_story_tells_once_what_was_done_twice() -> None:
    told = story().with_events([step(3), Finished("stopped", 3, 2)])
    again = told.with_events([Started(99, 4, 11, 1, 2), Evaluated(2, 1.0, 0.5, True), step(3, 7.0)])
    assert [(past.step, past.loss) for past in again.steps] == [(1, 1.0), (2, 1.0), (3, 7.0)]
    assert [look.step for look in again.looks] == [0, 2] and again.finished is None
    assert Story().done == 0 and again.done == 3


def test_charts_keep_inside_their_axes() -> None:
    nan, inf = float("nan"), float("inf")
    drawn = chart(
        [Line("held", [(0, 3.0), (5, nan), (7, inf), (99, 1.0)], dots=True)], end=10, alt=NASTY
    )
    assert "nan" not in drawn and "inf" not in drawn and "<script" not in drawn
    xs = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    assert len(xs) == 4 and max(xs) <= 376 and min(xs) >= 40
    assert chart([Line("train", [])], end=0, alt="").startswith("<svg")
    line = [(float(n), 1.0) for n in range(5000)]
    assert len(thinned(line)) == 240 and thinned(line)[-1] == line[-1]
    assert smoothed([(0, 1.0), (1, 0.0)]) == [(0, 1.0), (1, 0.85)]
    assert strip([0.0, 0.0], ["a", NASTY]).count("--share:0.000") == 2


def test_a_browser_without_a_secret_gets_one() -> None:
    new = known(None)
    assert known(new) == new and known("x" * 43 + '"') != "x" * 43 + '"' and len(new) == 43
