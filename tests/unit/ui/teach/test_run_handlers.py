"""Step 4 of the tab "Teach" without a browser."""

import json
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import create_autospec

import gradio as gr

from demo.finetune.data.table import LIMITS
from demo.finetune.runs.queue import RunQueue
from demo.finetune.train.events import Compared, FinalEvaluation, RunHistory
from demo.ui.strings import ENGLISH
from demo.ui.teach.run_handlers import CHAT_TAB, AdapterPicker, RunHandlers, known
from demo.ui.teach.tab import build_outside, build_teach
from tests.unit.ui.snippets import history, run


def test_a_browser_without_a_secret_gets_one() -> None:
    new = known(None)
    assert known(new) == new and known("x" * 43 + '"') != "x" * 43 + '"' and len(new) == 43


def test_a_run_that_is_chosen_is_shown_as_its_log_tells_it() -> None:
    with gr.Blocks():
        view = build_teach(ENGLISH.teach, 3, LIMITS, build_outside())
        picker = AdapterPicker(gr.Tabs(), gr.Dropdown(), gr.HTML(), gr.Chatbot())
    runs = create_autospec(RunQueue, instance=True)
    runs.get.return_value, runs.history.return_value = run("done"), history()
    teaching = SimpleNamespace(runs=runs, published=lambda run: "")
    runtime = SimpleNamespace(teaching=teaching)
    handlers = RunHandlers(runtime, view, picker, ENGLISH)  # type: ignore[arg-type]
    shown = handlers.choose(known(None), "0" * 16)
    assert "Step 2 of 4" in shown[view.run.live] and "after 2 steps" in shown[view.run.live]
    assert shown[view.run_id] == "0" * 16
    saved = json.loads(handlers.curves(known(None), "0" * 16)[view.run.made])
    assert saved["text"].count("\n") == 4


def test_the_address_says_which_run_is_shown() -> None:
    with gr.Blocks():
        view = build_teach(ENGLISH.teach, 3, LIMITS, build_outside())
        picker = AdapterPicker(gr.Tabs(), gr.Dropdown(), gr.HTML(), gr.Chatbot())
    new, old = replace(run("done"), id="b" * 16), replace(run("done"), id="a" * 16)
    runs = create_autospec(RunQueue, instance=True)
    runs.of.return_value, runs.history.return_value = (new, old), history()
    runs.get.side_effect = lambda owner, run_id: {new.id: new, old.id: old}[run_id]
    teaching = SimpleNamespace(runs=runs, published=lambda run: "", off="")
    handlers = RunHandlers(SimpleNamespace(teaching=teaching), view, picker, ENGLISH)  # type: ignore[arg-type]
    for before, asked, shown in (
        ("", "", new.id),
        (old.id, "", old.id),
        (new.id, old.id, old.id),
        (new.id, "none", ""),
        ("", "c" * 16, new.id),
    ):
        seen = handlers.enter(known(None), before, asked)
        assert seen[view.run_id] == shown and seen[view.outside.asked] == ""
        assert seen[view.run.problem].visible == (asked == "c" * 16)
        assert seen[view.run.earlier].visible and seen[view.run.earlier].value == (shown or None)
    new_here = handlers.enter(None, "", old.id)
    assert new_here[view.run_id] == "" and new_here[view.run.problem].visible


def test_what_was_taught_is_chosen_in_the_chat_until_it_is_deleted() -> None:
    with gr.Blocks():
        view = build_teach(ENGLISH.teach, 3, LIMITS, build_outside())
        picker = AdapterPicker(gr.Tabs(), gr.Dropdown(), gr.HTML(), gr.Chatbot())
    names = ["mirror"]
    card = {"description": "", "parameters": 5, "modalities": ["text"]}
    teaching = SimpleNamespace(
        runs=create_autospec(RunQueue, instance=True), publish=lambda owner, run: names[0]
    )
    teaching.runs.of.return_value = ()
    rows = (Compared("Wrong?", "a", "", "b"), Compared("Right?", "a", "", "a "))
    told = RunHistory().with_events([FinalEvaluation({}, rows)])
    teaching.runs.history.return_value = told
    library = SimpleNamespace(
        cards=lambda owner, tower: tuple(card | {"name": name} for name in names)
    )
    runtime = SimpleNamespace(teaching=teaching, library=library, tower=None)
    handlers = RunHandlers(runtime, view, picker, ENGLISH)  # type: ignore[arg-type]
    secret = known(None)
    shown = handlers.use(secret, "0" * 16)
    assert shown[picker.adapter].value == "mirror" and shown[picker.tabs].selected == CHAT_TAB
    cards = shown[picker.chatbot].examples
    assert [card["text"] for card in cards] == ["Right?", "Wrong?"]  # the person's own rows
    assert handlers.use("x", "0" * 16).keys() == {view.run.problem}  # no secret of a browser
    names.clear()
    shown = handlers.delete(secret, "0" * 16, "mirror")
    assert shown[picker.adapter].value == "auto" and not shown[view.run.sure].visible
