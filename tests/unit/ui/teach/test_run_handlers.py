"""Step 4 of the tab "Teach" without a browser."""

import json
from dataclasses import astuple, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import gradio as gr
import pytest

from demo.adapter.library import Compatibility, Library, set_owner
from demo.errors import CheckpointError, InputError
from demo.finetune.data.table import LIMITS
from demo.finetune.runs.queue import RunQueue
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import Compared, FinalEvaluation, RunHistory
from demo.teaching.service import Teaching
from demo.ui.strings import ENGLISH
from demo.ui.teach.run_handlers import CHAT_TAB, TEACH_TAB, AdapterPicker, RunHandlers, known
from demo.ui.teach.tab import build_outside, build_teach
from tests.small import save_small
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
    shown = handlers.choose(known(None), "0" * 16, "")
    assert "Step 2 of 4" in shown[view.run.live] and "after 2 steps" in shown[view.run.live]
    assert shown[view.run_id] == "0" * 16
    saved = json.loads(handlers.curves(known(None), "0" * 16)[view.run.made])
    assert saved["text"].count("\n") == 4
    other = replace(run("done"), id="b" * 16, name="another")
    runs.of.return_value = (run("done"), other)
    shown = handlers.choose(known(None), "0" * 16, other.id)
    assert f"{ENGLISH.teach.held_out}, another" in shown[view.run.live]
    beside_itself = handlers.choose(known(None), "0" * 16, "0" * 16)
    assert "key other" not in beside_itself[view.run.live]


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


def test_an_adapter_of_the_library_is_taught_more(base, tmp_path: Path) -> None:
    with gr.Blocks():
        view = build_teach(ENGLISH.teach, 3, LIMITS, build_outside())
        picker = AdapterPicker(gr.Tabs(), gr.Dropdown(), gr.HTML(), gr.Chatbot())
    save_small(tmp_path, base, "everybodys", 1)
    set_owner(tmp_path, "somebodys", "m" * 32)
    save_small(tmp_path, base, "somebodys", 2)
    teaching = create_autospec(Teaching, instance=True)
    teaching.runs, teaching.drafts = create_autospec(RunQueue, instance=True), SimpleNamespace()
    teaching.drafts.has = lambda owner: False
    teaching.begin.side_effect = InputError("not today")
    fits = [Compatibility(base.name, base.fingerprint, base.config, None, None)]
    runtime = SimpleNamespace(
        teaching=teaching, library=Library(tmp_path), fit=lambda: fits[-1], tower=None
    )
    handlers = RunHandlers(runtime, view, picker, ENGLISH)  # type: ignore[arg-type]
    secret = known(None)
    shown = handlers.teach_entry_more(secret, "everybodys")
    assert shown[picker.tabs].selected == TEACH_TAB
    assert "“everybodys”" in shown[view.data.chosen]
    assert shown[view.settings.name] == "everybodys" and shown[view.settings.more_stop].visible
    handlers.start(secret, shown[view.more_id], "more", "", *astuple(TrainingOptions()))
    given = teaching.begin.call_args.kwargs
    assert (given["more"], given["start"]) == ("", tmp_path / "everybodys.safetensors")
    with pytest.raises(InputError, match="There is no adapter 'somebodys'"):
        handlers.teach_entry_more(secret, "somebodys")
    fits.append(replace(fits[0], base="another", base_fingerprint="another"))
    with pytest.raises(CheckpointError, match="this is another"):
        handlers.teach_entry_more(secret, "everybodys")


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
