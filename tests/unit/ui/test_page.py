"""The page as a whole: what each visit holds."""

from pathlib import Path

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from demo.runtime import Runtime
from demo.settings import Settings
from demo.ui.page import build_page


@pytest.mark.matrix("C9")
def test_a_visit_has_one_secret_from_its_first_event_on(tmp_path: Path) -> None:
    """A page that had loaded late gave the visit another, and its running reply was orphaned."""
    page = build_page(Runtime(Settings(adapters=tmp_path)))
    sends = [event for event in page.fns.values() if event.name == "send"]
    session = sends[0].inputs[0]
    assert isinstance(session, gr.State)
    visits = [SessionState(page), SessionState(page)]
    first, second = (visit[session._id] for visit in visits)
    assert len(first) == len(second) == 43 and first != second
    assert visits[0][session._id] == first
    loads = [event for event in page.fns.values() if any(t[1] == "load" for t in event.targets)]
    assert loads and all(session not in event.outputs for event in loads)


def test_the_page_stands_there_in_two_languages(tmp_path: Path) -> None:
    page = build_page(Runtime(Settings(adapters=tmp_path)))
    config = page.get_config_file()
    assert set(config["page"]) == {"", "zh"}
    shown = {name: set(one["components"]) for name, one in config["page"].items()}
    assert not shown[""] & shown["zh"]
    labels = {part["id"]: part["props"].get("label") for part in config["components"]}
    for name, tab in (("", "Teach"), ("zh", "训练")):
        assert tab in {labels[part] for part in shown[name]}
    loads = [fn for fn in page.fns.values() if any(t[1] == "load" for t in fn.targets)]
    assert {fn.page for fn in loads} >= {"", "zh"}
