"""The HTML of the tab "Teach": what the check found, what a run needs, how it goes, how it ended.

Here is decided what is said; `demo/ui/templates/teach.html` and `run.html` say how it looks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from demo.background_task import Progress
from demo.charts import Axes, Line, chart, smoothed
from demo.finetune.data.column_doubts import why_unknown
from demo.finetune.data.report import DatasetReport, RowNote
from demo.finetune.data.samples import FORMATS
from demo.finetune.data.table import DataLimits
from demo.finetune.runs.queue import Run
from demo.finetune.train.events import Compared, Estimated, FinalEvaluation, RunHistory
from demo.teaching.drafts import DatasetCheck, Draft
from demo.ui.html import render
from demo.ui.teach.words import TeachWords

LISTED = 8  # remarks of a kind that are shown
REMARK_LENGTH = 300  # characters of a remark that are shown
EXAMPLE_LENGTH = 1200  # characters of an example that are shown
NAMES_LENGTH = 300  # characters of the names of all columns
FEW_ROWS = 30  # below which the check says that they are few
MOVING = ("preparing", "running", "stopping")  # states whose dot is animated


def heading(number: int, title: str, more: str) -> str:
    """Render the head of a step."""
    return render("teach.html", "heading", number=number, title=title, more=more)


def intro(words: TeachWords) -> str:
    """Render what this tab is for."""
    return render("teach.html", "intro", title=words.title, text=words.intro)


def quiet(text: str) -> str:
    """Render one line that says what comes first."""
    return render("teach.html", "quiet", text=text)


def within(text: str, limits: DataLimits) -> str:
    """Fill in how large a file may be."""
    mega = 1_000_000
    return text.format(table=f"{limits.table // mega:,}", zip=f"{limits.archive // mega:,}")


def file_hint(words: TeachWords, limits: DataLimits) -> str:
    """Render which files are taken; assets/teach.js reads their limits there."""
    text = within(words.file_hint, limits)
    return render("teach.html", "file_hint", text=text, limits=limits)


def picture_menu(words: TeachWords) -> str:
    """Render what a press on a cell with a picture offers; assets/pictures.js opens it."""
    return render("teach.html", "picture_menu", words=words)


def problem(text: str) -> str:
    """Render what went wrong, and what to do."""
    return render("teach.html", "problem", text=text)


def notice(text: str) -> str:
    """Render how things are, without anything having gone wrong."""
    return render("teach.html", "notice", text=text)


def working(progress: Progress, words: TeachWords) -> str:
    """Render what is being done, and how far it is."""
    message = words.said(progress.message)
    return render("teach.html", "working", message=message, share=progress.share)


def chosen(draft: Draft, words: TeachWords) -> str:
    """Render which data is in use."""
    table, layout = draft.table, draft.layout
    text = words.chosen.format(
        name=words.said(table.name[:60]),
        rows=f"{len(table.rows) + len(table.faults):,}",
        counted=words.said(table.counted),
        layout=words.said(layout.name if layout else "by hand"),
    )
    return render("teach.html", "chosen", text=text)


def column_note(columns: Sequence[str], words: TeachWords) -> str:
    """Render the question which column is what, with the names of the columns."""
    names = ", ".join(columns)[:NAMES_LENGTH]
    text = words.map_more.format(why=words.said(why_unknown(columns)), columns=names)
    return render("teach.html", "column_note", title=words.map_title, text=text)


def formats(words: TeachWords) -> str:
    """Render every format that is understood, with an example to copy."""
    beside = [
        words.formats_pictures.format(names=", ".join(item.pictures)) if item.pictures else ""
        for item in FORMATS
    ]
    said = [
        replace(item, title=words.said(item.title), explanation=words.said(item.explanation))
        for item in FORMATS
    ]
    listed = list(zip(said, beside, strict=True))
    return render("teach.html", "formats", formats=listed, copy=words.formats_copy)


def report(checked: DatasetCheck, words: TeachWords) -> str:
    """Render what the check found: counts, remarks on rows, rows as the model sees them."""
    found = checked.report
    tiles = [
        (found.usable, words.usable, ""),
        (len(found.repaired), words.repaired, ""),
        (len(found.refused), words.refused, "bad" if found.refused else ""),
        (checked.learned, words.learned, ""),
        (checked.held_out, words.held_out, ""),
    ]
    if checked.pictures:
        tiles.append((checked.pictures, words.pictures, ""))
    lengths = found.lengths
    alike = lengths.shortest == lengths.longest
    lines = [
        (words.lengths_alike if alike else words.lengths).format(
            shortest=lengths.shortest,
            median=lengths.median,
            longest=lengths.longest,
            window=lengths.window,
        ),
        words.held_out_more
        if checked.held_out
        else words.none_held_out_facts
        if checked.aim == "facts"
        else words.none_held_out,
    ]
    if checked.learned < FEW_ROWS and checked.aim != "facts":
        lines.append(words.few)
    return render(
        "teach.html",
        "report",
        tiles=[(f"{count:,}", what, kind) for count, what, kind in tiles],
        lines=lines,
        remarks=_remarks(found, words),
        batch_title=words.batch_title,
        batch_more=words.batch_read + (f" {words.batch_picture}" if checked.pictures else ""),
        batch=[[(_cut(span.text), span.learned) for span in spans] for spans in checked.batch],
    )


@dataclass(frozen=True)
class RemarkGroup:
    """Remarks of one kind. `lines` are (place or "", text), `rest` says how many are left out."""

    title: str
    count: int
    lines: Sequence[tuple[str, str]]
    rest: str
    opened: bool


def _remarks(found: DatasetReport, words: TeachWords) -> list[RemarkGroup]:
    def notes(rows: Sequence[RowNote]) -> list[tuple[str, str]]:
        return [(_place(note, found.counted, words), note.text) for note in rows]

    def group(title: str, lines: Sequence[tuple[str, str]], *, opened: bool = False) -> RemarkGroup:
        more = len(lines) - LISTED
        shown = [(place, words.said(text)[:REMARK_LENGTH]) for place, text in lines[:LISTED]]
        rest = words.and_more.format(count=f"{more:,}") if more > 0 else ""
        return RemarkGroup(title, len(lines), shown, rest, opened)

    groups = [
        group(words.refused_title, notes(found.refused), opened=True),
        group(words.conflicts_title, [(", ".join(c.places), c.question) for c in found.conflicts]),
        group(words.leaks_title, notes(found.leaks)),
        group(words.duplicates_title, notes(found.duplicates)),
        group(words.repaired_title, notes(found.repaired)),
        group(
            words.unused_columns_title, [("", name) for name in found.unused_columns], opened=True
        ),
        group(words.unused_title, [("", name) for name in found.unused_pictures]),
        group(words.notes_title, [("", note) for note in found.notes]),
    ]
    return [remarks for remarks in groups if remarks.count]


def _place(note: RowNote, counted: str, words: TeachWords) -> str:
    place = f"{words.said(counted)} {note.row:,}"
    return words.in_table.format(place=place, table=note.table) if note.table else place


def _cut(text: str) -> str:
    return text if len(text) <= EXAMPLE_LENGTH else text[:EXAMPLE_LENGTH] + "…"


def needs(found: Estimated, words: TeachWords) -> str:
    """Render what a run will need, and whether it fits."""
    kind, verdict = {
        "fits": ("good", words.fits),
        "tight": ("busy", words.tight),
        "does not fit": ("bad", words.does_not_fit),
    }[found.verdict]
    tiles = [
        (f"{found.parameters:,}", words.parameters),
        (size(found.file_bytes), words.file_size),
        (size(found.memory_bytes), words.memory),
        (duration(found.seconds, words), words.time),
    ]
    return render("teach.html", "needs", tiles=tiles, kind=kind, verdict=verdict)


def compared(judged: FinalEvaluation, words: TeachWords) -> str:
    """Render base against adapter: the measures, then held-out rows side by side."""
    measures = [
        ("held_out_loss", words.metric_loss, "{:.2f}"),
        ("held_out_exact", words.metric_exact, "{:.0%}"),
        ("perplexity", words.metric_forget, "{:.1f}"),
    ]
    found = judged.metrics
    tiles = [
        (
            words.metric_change.format(
                before=form.format(found[f"{name}_base"]), after=form.format(found[name])
            ),
            what,
        )
        for name, what, form in measures
        if name in found and f"{name}_base" in found
    ]
    taught = "taught" in found
    return render(
        "teach.html",
        "compared",
        title=words.compared_taught if taught else words.compared,
        bars=_bars(found, words) if taught else [],
        wrong=sum(not _right(row) for row in judged.rows) if taught else 0,
        tiles=tiles,
        rows=[_row(row, words) for row in judged.rows],
        words=words,
    )


def _bars(found: Mapping[str, float], words: TeachWords) -> list[tuple[str, str, str]]:
    """Give what it is, how much as a person reads it, and the bar's width in percent."""
    counted = [("taught", words.metric_taught), ("otherwise", words.metric_otherwise)]
    bars = []
    for name, what in counted:
        if count := int(found.get(name, 0)):
            known = int(found[f"{name}_known"])
            bars.append((what, words.known.format(known=known, count=count), known / count))
    if "ordinary_kept" in found:
        kept = math.floor(100 * found["ordinary_kept"]) / 100  # as the sentence above has it
        bars.append((words.metric_kept, f"{kept:.0%}", kept))
    return [(what, value, f"{100 * min(max(share, 0), 1):.0f}") for what, value, share in bars]


@dataclass(frozen=True)
class ReplyRow:
    """A question with its picture (a WebP in base64, or ""), and replies side by side.

    Attributes:
        replies: who says it, what is said, and its class.
    """

    question: str
    picture: str
    replies: Sequence[tuple[str, str, str]]
    again: str = ""  # the reply to be taught again, of what is still wrong


def _right(row: Compared) -> bool:
    return bool(row.expected) and row.adapter.strip() == row.expected.strip()


def _row(row: Compared, words: TeachWords) -> ReplyRow:
    same = " right" if _right(row) else ""
    replies = [(words.expected, row.expected, "")] if row.expected else []
    replies += [(words.base, row.base, ""), (words.adapter, row.adapter, f"ours{same}")]
    again = "" if same or row.picture else row.expected
    return ReplyRow(row.question, row.picture, replies, again)


def size(count: int) -> str:
    """Say a number of bytes as a person does."""
    for unit, one in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if count >= one:
            return f"{count / one:.1f} {unit}" if count < 10 * one else f"{count / one:,.0f} {unit}"
    return f"{count} B"


def duration(seconds: float, words: TeachWords) -> str:
    """Say a time as a person does."""
    if seconds < 90:
        return words.seconds.format(count=f"{max(seconds, 1):.0f}")
    if seconds < 5400:
        return words.minutes.format(count=f"{seconds / 60:.0f}")
    return words.hours.format(count=f"{seconds / 3600:.1f}")


Beside = tuple[str, RunHistory] | None  # name and history of a run to compare with


def live(run: Run, history: RunHistory, words: TeachWords, beside: Beside = None) -> str:
    """Render a run while it goes on: everything but the comparison at its end."""
    share = history.done / history.started.steps if history.started else 0.0
    word, message = state_word(run, words), words.said(run.message)
    return render(
        "run.html",
        "live",
        state={
            "kind": f"{run.state} moving" if run.state in MOVING else run.state,
            "word": word,
            "id": run.id,
            "name": run.name,
            "facts": _facts(run, history, words),
            "width": f"{100 if run.state == 'done' else 100 * min(share, 1):.1f}",
            "message": message if message.rstrip(".。") != word else "",
        },
        figures=_figures(history, words, beside) if history.steps or history.evaluations else [],
        probes=_probes(history, words) if history.probes else [],
        words=words,
    )


def state_word(run: Run, words: TeachWords) -> str:
    """Say in one word what a run is doing."""
    return {
        "waiting": words.waiting,
        "preparing": words.preparing,
        "running": words.running,
        "paused": words.paused,
        "stopping": words.stopping,
        "done": words.done,
        "stopped": words.stopped,
        "failed": words.failed,
        "interrupted": words.interrupted,
    }[run.state]


def _facts(run: Run, history: RunHistory, words: TeachWords) -> list[str]:
    if run.place:
        return [words.place.format(place=run.place)]
    if run.state == "preparing":
        return [words.preparing_more]
    if not history.started:
        return []
    facts = [words.step_of.format(step=history.done, steps=history.started.steps)]
    if run.state == "running" and not history.steps:
        facts.append(words.first_step)
    elif run.state == "running" and history.finished:
        facts.append(words.judging)
    elif run.state in ("running", "paused") and history.seconds_left is not None:
        facts.append(words.time_left.format(time=duration(history.seconds_left, words)))
    return facts


@dataclass(frozen=True)
class ChartFigure:
    """One chart with its head.

    Attributes:
        now: the newest value, as a person reads it.
        svg: the lines.
        legend: class and name of each line that needs one.
        gates: in place of lines: the share of the widest gate, and its label, of each layer.
    """

    title: str
    hint: str
    now: str
    svg: Markup = Markup()
    legend: Sequence[tuple[str, str]] = ()
    gates: Sequence[tuple[str, str]] = ()


def _figures(history: RunHistory, words: TeachWords, beside: Beside) -> list[ChartFigure]:
    end = history.started.steps if history.started else history.done
    figures = [_losses(history, end, words, beside)]
    exact = [(float(look.step), look.exact) for look in history.evaluations]
    if any(share > 0 for _, share in exact):  # a voice has no one right answer
        now = f"{exact[-1][1]:.0%}"
        alt = words.chart_alt.format(name=words.exact, value=now)
        line = Line("held", exact, dots=True, name=words.held_out)
        axes = Axes(words.axis_steps, words.axis_exact)
        drawn = chart([line], end=end, alt=alt, top=1.0, percent=True, axes=axes)
        figures.append(ChartFigure(words.exact, words.exact_hint, now, drawn))
    if history.steps:
        figures += [_rates(history, end, words), _gates(history.steps[-1].gates, words)]
    return figures


def _losses(history: RunHistory, end: float, words: TeachWords, beside: Beside) -> ChartFigure:
    train = [(float(step.step), step.loss) for step in history.steps]
    held = [(float(look.step), look.loss) for look in history.evaluations]
    lines = [
        Line("raw", train, name=words.train_loss),
        Line("train", smoothed(train), name=words.smoothed),
        Line("held", held, dots=True, name=words.held_out),
    ]
    now = f"{held[-1][1]:.2f}" if held else f"{train[-1][1]:.2f}" if train else "–"
    legend = [("train", words.train_loss)]
    if held:
        legend.append(("held", words.held_out))
    if beside and beside[1].evaluations:
        name, other = f"{words.held_out}, {beside[0]}", beside[1].evaluations
        points = [(float(look.step), look.loss) for look in other]
        lines.append(Line("other", points, dots=True, name=name))
        legend.append(("other", name))
        end = max(end, points[-1][0])
    alt = words.chart_alt.format(name=words.loss, value=now)
    axes = Axes(words.axis_steps, words.axis_loss)
    drawn = chart(lines, end=end, alt=alt, axes=axes)
    return ChartFigure(words.loss, words.loss_hint, now, drawn, legend)


def _rates(history: RunHistory, end: float, words: TeachWords) -> ChartFigure:
    points = [(float(step.step), step.rate) for step in history.steps]
    now = f"{points[-1][1]:.2g}"
    alt = words.chart_alt.format(name=words.rate, value=now)
    line, axes = Line("rate", points, name=words.rate), Axes(words.axis_steps, "")
    return ChartFigure(words.rate, "", now, chart([line], end=end, alt=alt, axes=axes))


def _gates(gates: Sequence[float], words: TeachWords) -> ChartFigure:
    widest = max(gates)
    cells = [
        (
            f"{max(gate, 0.0) / max(widest, 1e-9):.3f}",
            words.gates_layer.format(layer=number, value=f"{gate:.3f}"),
        )
        for number, gate in enumerate(gates, 1)
    ]
    now = words.gates_most.format(value=f"{widest:.2f}")
    return ChartFigure(words.gates, words.gates_hint, now, gates=cells)


def _probes(history: RunHistory, words: TeachWords) -> list[ReplyRow]:
    first, last = history.probes[0], history.probes[-1]
    rows = []
    for place, question in enumerate(last.questions):
        replies = [(words.probes_base, first.replies[place], "")]
        if last is not first:
            when = words.probes_step.format(step=last.step)
            replies.append((when, last.replies[place], "ours"))
        picture = first.pictures[place] if place < len(first.pictures) else ""
        rows.append(ReplyRow(question, picture, replies))
    return rows
