"""The HTML of the tab "Teach". Rows come from strangers: every text is escaped here, as text."""

from collections.abc import Sequence
from html import escape

from demo.drafts import Draft
from demo.finetune.events import Compared, Estimated, Judged
from demo.finetune.format_help import FORMATS
from demo.finetune.report import Report, RowNote
from demo.preparing import Checked
from demo.ui.teach_words import TeachWords
from demo.work import Progress

LISTED = 8  # remarks of a kind that are shown
ENOUGH = 30  # rows below which we say that they are few
CONTROL_ROOM = 1200  # characters of an example that are shown


def heading(number: int, title: str, more: str) -> str:
    """The head of a step."""
    return (
        f'<div class="step-head"><b>{number}</b><div><h2>{escape(title)}</h2>'
        f"<p>{escape(more)}</p></div></div>"
    )


def intro(words: TeachWords) -> str:
    """What this tab is for."""
    return (
        f'<div class="teach-intro"><h2>{escape(words.title)}</h2><p>{escape(words.intro)}</p></div>'
    )


def quiet(text: str) -> str:
    """One line that says what comes first."""
    return f'<p class="muted">{escape(text)}</p>'


def problem(text: str) -> str:
    """What went wrong, and what to do."""
    return f'<div class="problem" role="alert">{escape(text)}</div>'


def notice(text: str) -> str:
    """How things are, without anything having gone wrong."""
    return f'<div class="calm" role="status">{escape(text)}</div>'


def working(progress: Progress) -> str:
    """What is being done, and how far it is."""
    share = "" if progress.share is None else f"{progress.share:.0%}"
    bar = (
        ""
        if progress.share is None
        else f'<div class="bar"><i style="width:{100 * progress.share:.0f}%"></i></div>'
    )
    return (
        f'<div class="working" role="status"><div class="waiting"><i></i><i></i><i></i>'
        f"<span>{escape(progress.message)} {share}</span></div>{bar}</div>"
    )


def chosen(draft: Draft, words: TeachWords) -> str:
    """Which data is in use."""
    table, layout = draft.table, draft.layout
    name = words.chosen_by_hand if layout is None or layout.name == "by hand" else layout.name
    text = words.chosen.format(
        name=table.name[:60],
        rows=f"{len(table.rows) + len(table.faults):,}",
        counted=table.counted,
        layout=name,
    )
    return f'<p class="chosen">{escape(text)}</p>'


def formats(words: TeachWords) -> str:
    """Every format that is understood, with an example to copy."""
    parts = []
    for item in FORMATS:
        beside = ""
        if item.pictures:
            beside = words.formats_pictures.format(names=", ".join(item.pictures))
            beside = f'<p class="muted">{escape(beside)}</p>'
        parts.append(
            f'<div class="format"><h3>{escape(item.title)} <code>{escape(item.file)}</code></h3>'
            f"<p>{escape(item.explanation)}</p>"
            f'<div class="example"><button type="button" class="copy">{escape(words.formats_copy)}'
            f"</button><pre>{escape(item.example)}</pre></div>{beside}</div>"
        )
    return f'<div class="formats">{"".join(parts)}</div>'


def report(checked: Checked, words: TeachWords) -> str:
    """What the check found."""
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
        words.held_out_more if checked.held_out else words.none_held_out,
    ]
    if checked.learned < ENOUGH:
        lines.append(words.few)
    facts = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        f'<div class="tiles">{"".join(map(_tile, tiles))}</div><ul class="facts-list">{facts}</ul>'
        f"{_remarks(found, words)}{_batch(checked, words)}"
    )


def _tile(tile: tuple[int, str, str]) -> str:
    count, what, kind = tile
    return f'<div class="tile {kind}"><b>{count:,}</b><span>{escape(what)}</span></div>'


def _remarks(found: Report, words: TeachWords) -> str:
    def notes(rows: Sequence[RowNote]) -> list[tuple[str, str]]:
        return [(_where(note, found.counted, words), note.text) for note in rows]

    groups = [
        (words.refused_title, notes(found.refused), True),
        (
            words.conflicts_title,
            [(", ".join(c.places), c.question) for c in found.conflicts],
            False,
        ),
        (words.leaks_title, notes(found.leaks), False),
        (words.duplicates_title, notes(found.duplicates), False),
        (words.repaired_title, notes(found.repaired), False),
        (words.unused_title, [("", name) for name in found.unused_pictures], False),
        (words.notes_title, [("", note) for note in found.notes], False),
    ]
    return "".join(_group(*group, words) for group in groups if group[1])


def _where(note: RowNote, counted: str, words: TeachWords) -> str:
    place = f"{counted} {note.row:,}"
    return words.in_table.format(place=place, table=note.table) if note.table else place


def _group(title: str, lines: Sequence[tuple[str, str]], shown: bool, words: TeachWords) -> str:
    rows = "".join(
        f"<li>{f'<b>{escape(where)}</b> ' if where else ''}{escape(text[:300])}</li>"
        for where, text in lines[:LISTED]
    )
    if len(lines) > LISTED:
        rows += f"<li>{escape(words.and_more.format(count=f'{len(lines) - LISTED:,}'))}</li>"
    return (
        f'<details class="remarks"{" open" if shown else ""}><summary>{escape(title)} '
        f"<span>{len(lines):,}</span></summary><ul>{rows}</ul></details>"
    )


def _batch(checked: Checked, words: TeachWords) -> str:
    rows = []
    for spans in checked.batch:
        text = "".join(
            f"<mark>{_cut(span.text)}</mark>" if span.learned else f"<span>{_cut(span.text)}</span>"
            for span in spans
        )
        rows.append(f"<pre>{text}</pre>")
    more = words.batch_read + (f" {words.batch_picture}" if checked.pictures else "")
    return (
        f'<details class="remarks batch"><summary>{escape(words.batch_title)}</summary>'
        f'<p class="muted">{escape(more)}</p>{"".join(rows)}</details>'
    )


def _cut(text: str) -> str:
    return escape(text if len(text) <= CONTROL_ROOM else text[:CONTROL_ROOM] + "…")


def needs(found: Estimated, words: TeachWords) -> str:
    """What a run will need, and whether it fits."""
    verdict = {"fits": words.fits, "tight": words.tight, "does not fit": words.does_not_fit}
    kind = {"fits": "good", "tight": "busy", "does not fit": "bad"}[found.verdict]
    facts = [
        (f"{found.parameters:,}", words.parameters),
        (size(found.file_bytes), words.file_size),
        (size(found.memory_bytes), words.memory),
        (duration(found.seconds, words), words.time),
    ]
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in facts
    )
    return (
        f'<div class="tiles">{tiles}</div>'
        f'<p class="verdict {kind}"><i></i>{escape(verdict[found.verdict])}</p>'
    )


def compared(judged: Judged, words: TeachWords) -> str:
    """Base against adapter: the measures, then held-out rows side by side."""
    return _metrics(judged.metrics, words) + "".join(_row(row, words) for row in judged.rows)


def _metrics(found: dict[str, float], words: TeachWords) -> str:
    shown = [
        ("held_out_loss", words.metric_loss, "{:.2f}"),
        ("held_out_exact", words.metric_exact, "{:.0%}"),
        ("perplexity", words.metric_forget, "{:.1f}"),
    ]
    tiles = "".join(
        f'<div class="tile"><b>{_change(found[name + "_base"], found[name], form, words)}</b>'
        f"<span>{escape(what)}</span></div>"
        for name, what, form in shown
        if name in found and f"{name}_base" in found
    )
    return f'<h3>{escape(words.compared)}</h3><div class="tiles">{tiles}</div>'


def _change(before: float, after: float, form: str, words: TeachWords) -> str:
    text = words.metric_change.format(before=form.format(before), after=form.format(after))
    return escape(text)


def _row(row: Compared, words: TeachWords) -> str:
    same = " right" if row.expected and row.adapter.strip() == row.expected.strip() else ""
    cells = [(words.expected, row.expected, "")] if row.expected else []
    cells += [(words.base, row.base, ""), (words.adapter, row.adapter, f"ours{same}")]
    return beside(row.question, row.picture, cells, words)


def beside(
    question: str, picture: str, cells: Sequence[tuple[str, str, str]], words: TeachWords
) -> str:
    """A question with its picture (a WebP in base64, or ""), and replies side by side.

    Args:
        cells: who says it, what is said, and its class.
    """
    shown = ""
    if picture:
        source = escape(f"data:image/webp;base64,{picture}")
        shown = f'<img src="{source}" alt="{escape(words.row_picture)}">'
    said = "".join(
        f'<div class="{kind}"><dt>{escape(who)}</dt>'
        f"<dd>{escape(text.strip() or words.no_reply)}</dd></div>"
        for who, text, kind in cells
    )
    return (
        f'<div class="beside"><p class="asked">{shown}{escape(question)}</p><dl>{said}</dl></div>'
    )


def size(count: int) -> str:
    """Bytes as a person says them."""
    for unit, one in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if count >= one:
            return f"{count / one:.1f} {unit}" if count < 10 * one else f"{count / one:,.0f} {unit}"
    return f"{count} B"


def duration(seconds: float, words: TeachWords) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return words.seconds.format(count=f"{max(seconds, 1):.0f}")
    if seconds < 5400:
        return words.minutes.format(count=f"{seconds / 60:.0f}")
    return words.hours.format(count=f"{seconds / 3600:.1f}")
