"""Every piece of HTML of the page, shown what strangers could write."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from demo.adapter.passport import AdapterCard
from demo.background_task import Progress
from demo.chat.conversation import ReplyStats
from demo.chat.kept import ChatSummary
from demo.finetune.data.columns import Layout
from demo.finetune.data.examples import TokenSpan
from demo.finetune.data.report import Conflict, DatasetReport, Lengths, RowNote
from demo.finetune.data.table import TableBuilder
from demo.finetune.runs.queue import Run
from demo.finetune.train.events import (
    Compared,
    Estimated,
    Evaluated,
    FinalEvaluation,
    Finished,
    Probed,
    RunHistory,
    Started,
    Step,
)
from demo.runtime import Status
from demo.teaching.drafts import DatasetCheck, Draft
from demo.ui import html
from demo.ui.strings import Strings
from demo.ui.teach import camera
from demo.ui.teach import html as teach_html
from demo.ui.teach.words import TeachWords
from demo.vision.image import Picture
from demo.vision.video import Video

NASTY = '<script>alert(1)</script><img src=x onerror="alert(1)"> **b** ${1+1}'
NOTE = (RowNote(3, NASTY, NASTY),)
REPORT = DatasetReport(
    9, 5, "row", NOTE, NOTE, NOTE, (Conflict(NASTY, (NASTY,)),), NOTE, (NASTY,),
    Lengths(3, 4, 5, 512), (NASTY,),
)  # fmt: skip
MANY = DatasetReport(
    3000, 1000, "line", (), tuple(RowNote(n, "why & how") for n in range(991, 1011)), (), (), (),
    (), Lengths(7, 7, 7, 512),
)  # fmt: skip
CHECKED = DatasetCheck(REPORT, 4, 1, 2, ((TokenSpan(NASTY, False), TokenSpan(NASTY, True)),))
JUDGED = FinalEvaluation(
    {"held_out_loss_base": 2.0, "held_out_loss": 0.5, "perplexity_base": 20.0, "perplexity": 21.0},
    (Compared(NASTY, NASTY, NASTY, NASTY),),
)
FACTS = {
    "taught": 15.0, "taught_known": 14.0, "otherwise": 11.0, "otherwise_known": 5.0,
    "ordinary_kept": 0.969,
}  # fmt: skip
STATS = ReplyStats("none", False, 9, 3, 0.1, 50.0, "end")
WEBP = "UklGRg=="  # in base64; nobody decodes it


def step(number: int, loss: float = 1.0) -> Step:
    return Step(number, loss, 5e-3, (0.1, 0.2), 2.0)


def run(state: str = "running", message: str = "", place: int = 0) -> Run:
    return Run("0" * 16, NASTY, state, message, place, False, 0.0, None)  # type: ignore[arg-type]


def history() -> RunHistory:
    looks = [Evaluated(0, 2.0, 0.0, True), Evaluated(2, 1.0, 0.5, True)]
    said = [Probed(0, (NASTY,), (NASTY,), (WEBP,)), Probed(2, (NASTY,), (NASTY,))]
    return RunHistory().with_events([Started(99, 4, 11, 1), *looks, step(1), step(2), *said])


def page_snippets(strings: Strings) -> dict[str, str]:
    """Render what stands around the tabs and in the chat, by a name for each."""
    loading = Status("loading", NASTY, 0.423, NASTY, NASTY, NASTY, 8, 2, 1300.0)
    ready = Status("ready", "Ready", None, "SmolLM2", "", "cpu", 8, 1, 300.0)
    failed = replace(ready, state="failed", message=NASTY, base="", progress=0.5)
    shown = {
        "header": html.header(strings),
        "header links": html.header_links(strings),
        "keys": html.key_list(strings),
        "status, loading": html.status_pill(loading, strings),
        "status, beyond the end": html.status_pill(replace(loading, progress=1.7), strings),
        "status, ready": html.status_pill(ready, strings),
        "status, failed": html.status_pill(failed, strings),
        "failed": html.failed_panel(failed, strings),
        "notice": html.notice(NASTY),
        "muted": html.muted(NASTY),
        "panel title": html.panel_title(NASTY),
        "waiting": html.waiting_line(NASTY),
    }
    said = {"description": NASTY, "parameters": 172_800, "base": NASTY}
    cards = (
        AdapterCard(name=NASTY, modalities=["text", "image"], **said),
        AdapterCard(name="pirate", modalities=["text"], **said),
    )
    for name in ("auto", "none", NASTY, "pirate", "gone"):
        shown[f"adapter {name[:7]}"] = html.adapter_note(name, cards, strings)
    chats = [ChatSummary("0" * 12, NASTY, 1.5e9, 2), ChatSummary("1" * 12, "two", 1.6e9, 0)]
    usual: dict[str, Any] = {"count": 90, "current": "1" * 12, "begun": True, "days": 30}
    return (
        shown
        | chat_snippets(strings)
        | {
            "chats": html.chat_list(chats, strings, searched=False, **usual),
            "chats, none found": html.chat_list([], strings, searched=True, **usual),
            "chats, off": html.chat_list(
                [], strings, count=0, current="", begun=True, days=0, searched=False
            ),
        }
    )


def chat_snippets(strings: Strings) -> dict[str, str]:
    stopped = {
        stopped: html.reply_footer(replace(STATS, stopped=stopped), strings)
        for stopped in ("end", "length", "cancelled", "deadline", "repeated")
    }
    seen = ReplyStats(NASTY, True, 41, 6, 0.421, 61.4, "end")
    frames = tuple(Picture(np.full((9, 16, 3), shade, np.uint8)) for shade in range(8))
    video = Video(frames, tuple(0.75 + 1.5 * i for i in range(8)), 12.04)
    return {f"facts, {name}": footer for name, footer in stopped.items()} | {
        "facts, seen": html.reply_footer(seen, strings),
        "facts, beside the base": html.reply_footer(
            seen, strings, last=True, base=html.BaseAnswer(NASTY, blind=True)
        ),
        "facts, with a note": html.reply_footer(seen, strings, note=strings.page_can),
        "facts, last": html.reply_footer(seen, strings, last=True),
        "facts, one frame": html.reply_footer(replace(seen, frames=1), strings),
        "facts, frames": html.reply_footer(replace(seen, frames=8), strings),
        "facts, corrected": html.reply_footer(seen, strings, corrected=True),
        "facts, in doubt": html.reply_footer(seen, strings, unfamiliar=True),
        "facts, one token": html.reply_footer(replace(seen, reply_tokens=1), strings),
        "facts, versions": html.reply_footer(seen, strings, versions=html.Versions(3, 1, 2)),
        "facts, to continue": html.reply_footer(
            replace(seen, stopped="length"), strings, last=True
        ),
        "unanswered": html.unanswered(strings, html.Versions(0, 2, 2), last=True),
        "never answered": html.unanswered(strings, html.Versions(0), last=False),
        "doubt": html.doubt_note(strings),
        "video": html.video_strip(video, strings),
        "video, one frame": html.video_strip(Video(frames[:1], (0.0,), 0.96), strings),
        "video, cut": html.video_strip(Video(frames[:3], (0, 1, 2), 2.04, cut=True), strings),
        "picture": html.picture_chip(b"webp", strings),
        "picture, taught": html.picture_chip(b"webp", strings, sees=NASTY),
        "video in use": html.picture_chip(b"webp", strings, video=True),
    }


def teach_snippets(words: TeachWords) -> dict[str, str]:
    """Render what the tab "Teach" shows, by a name for each."""
    builder = TableBuilder(NASTY)
    builder.add(1, {"question": NASTY, "answer": NASTY})
    table = builder.build()
    compared = replace(
        JUDGED.rows[0], expected="left\n", adapter=" left", base=" ", picture=WEBP, question="\n a"
    )
    forged = replace(compared, expected="", picture='"><script>alert(1)</script>')
    exact = {"held_out_exact_base": 0.25, "held_out_exact": 1.0, "perplexity": 3.0}
    shown = {
        "heading": teach_html.heading(1, NASTY, NASTY),
        "intro": teach_html.intro(words),
        "quiet": teach_html.quiet(NASTY),
        "problem": teach_html.problem(NASTY),
        "calm": teach_html.notice(NASTY),
        "working": teach_html.working(Progress(NASTY), words),
        "working, half": teach_html.working(Progress(NASTY, 0.456), words),
        "chosen by hand": teach_html.chosen(Draft(table, None, Path()), words),
        "chosen": teach_html.chosen(
            Draft(table, Layout(NASTY, "question", "answer"), Path()), words
        ),
        "columns": teach_html.column_note([NASTY] * 9, words),
        "formats": teach_html.formats(words),
        "camera": camera.field(words),
        "report": teach_html.report(CHECKED, words),
        "report, long": teach_html.report(DatasetCheck(MANY, 3000, 0, 0, ()), words),
        "report, cut": teach_html.report(
            replace(CHECKED, pictures=0, batch=((TokenSpan("<" * 2000, True),), ())), words
        ),
        "report, facts": teach_html.report(
            replace(CHECKED, held_out=0, batch=(), aim="facts"), words
        ),
        "compared, facts": teach_html.compared(
            replace(JUDGED, metrics=FACTS, rows=(replace(JUDGED.rows[0], adapter="left"),)), words
        ),
        "compared": teach_html.compared(JUDGED, words),
        "compared, pictures": teach_html.compared(
            FinalEvaluation(exact, (compared, forged)), words
        ),
    }
    sizes = [("fits", 3, 2.0), ("tight", 3 * 2**10, 150.0), ("does not fit", 3 * 2**31, 9000.0)]
    for verdict, size, seconds in sizes:
        estimate = Estimated(173_070, size, 12 * 2**20, seconds, verdict)  # type: ignore[arg-type]
        shown[f"needs, {verdict}"] = teach_html.needs(estimate, words)
    return shown | run_snippets(words)


def run_snippets(words: TeachWords) -> dict[str, str]:
    told = history()
    begun = RunHistory().with_events([Started(99, 4, 11, 1)])
    voice = begun.with_events([Evaluated(0, 2.0, 0.0, True), Probed(0, (NASTY,), ("",))])
    one = begun.with_events([step(1)])
    shown = {
        "run": teach_html.live(run(), told, words),
        "run, in the line": teach_html.live(run("waiting", place=2), RunHistory(), words),
        "run, preparing": teach_html.live(run("preparing"), RunHistory(), words),
        "run, before its first step": teach_html.live(run(), begun, words),
        "run, a voice": teach_html.live(run(), voice, words),
        "run, one step": teach_html.live(run(), one, words),
        "run, at its end": teach_html.live(
            run(), told.with_events([Finished("done", 4, 2)]), words
        ),
    }
    for state in ("paused", "stopping", "done", "stopped", "failed", "interrupted"):
        shown[f"run, {state}"] = teach_html.live(run(state, NASTY), told, words)
    return shown | {"run, nothing to add": teach_html.live(run("done", "Done."), told, words)}
