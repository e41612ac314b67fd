"""A visit costs no description of the page, and keeps what is its own."""

import tracemalloc
from pathlib import Path

import gradio as gr
import pytest
from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState

from demo.ui.sessions import VisitStates


@pytest.fixture
def page() -> gr.Blocks:
    with gr.Blocks() as blocks:
        gr.State("own", time_to_live=60)
        for n in range(5):
            gr.Textbox(label=str(n))
    blocks.state_session_capacity = 3
    return blocks


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The components that gradio describes, by their numbers."""
    found: list[int] = []
    whole = BlocksConfig.config_for_block

    def counted(number: int, *rest: object) -> dict[str, object]:
        found.append(number)
        return whole(number, *rest)

    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(counted))
    return found


@pytest.mark.matrix("D3")
def test_a_visit_describes_no_component(page: gr.Blocks, described: list[int]) -> None:
    visits = VisitStates()
    visits.set_blocks(page)
    kinds = {type(block): number for number, block in page.blocks.items()}
    state, box = kinds[gr.State], kinds[gr.Textbox]
    for name in ("first", "second"):
        visit = visits[name]
        assert visits[name] is visit and name in visits
        assert visit[state] == "own"
        visit[state] = f"of {name}"
        visit[box] = gr.Textbox(label=f"for {name}", render=False)
        visit._update_config(box)
        visit._update_value_in_config(box, "text")
    assert [visits[name][state] for name in ("first", "second")] == ["of first", "of second"]
    assert [visits[name][box].label for name in ("first", "second")] == ["for first", "for second"]
    assert page.blocks[box].label == "4"  # as it was
    assert [value for _, value, _ in visits["first"].state_components] == ["of first"]
    assert described == []
    SessionState(page)
    assert len(described) == len(page.blocks)  # gradio's own does; else this class is not needed


@pytest.mark.matrix("D18")
def test_a_visit_lists_no_component_anew() -> None:
    with gr.Blocks() as page:
        boxes = [gr.Textbox(label=str(n)) for n in range(300)]
    visits = VisitStates()
    visits.set_blocks(page)
    visits["first"]
    tracemalloc.start()
    for n in range(50):
        visits[str(n)][boxes[7]._id] = boxes[8]
    taken = tracemalloc.get_traced_memory()[0] / 50
    tracemalloc.stop()
    assert taken < 4096  # the list alone takes 9 KB
    assert visits["3"][boxes[7]._id] is boxes[8] and page.blocks[boxes[7]._id] is boxes[7]


def test_as_many_visits_are_kept_as_gradio_was_told(page: gr.Blocks) -> None:
    visits = VisitStates()
    visits.set_blocks(page)
    for n in range(5):
        visits[str(n)]
    assert [str(n) in visits for n in range(5)] == [False, False, True, True, True]


def test_it_is_what_a_served_page_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from gradio.routes import App

    from demo.ui.server import OPEN, guarded

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks() as blocks:
        gr.Textbox()
    blocks.max_file_size = None

    async def run() -> App:
        app = App.create_app(blocks, app_kwargs={"lifespan": guarded(OPEN)})
        app.middleware_stack = app.build_middleware_stack()
        async with app.router.lifespan_context(app):
            return app

    app = asyncio.run(run())
    assert isinstance(app.state_holder, VisitStates)
    assert blocks.state_holder is app.state_holder
