"""What gradio keeps for each visit, without its copies of the page.

With every first call of a session gradio describes all components of the page anew, some 40 ms on
the thread that answers all requests: two hundred calls at once, of which each may be a session of
its own, held everybody up for ten seconds. The descriptions serve its deep links alone, which this
page has not (`?chat=` and `?adapter=` are its own).

Nor does a visit list all components and events once more, some 23 KB of them: each call of a
program is a visit of its own, and many of them are kept.
"""

from collections import ChainMap
from types import SimpleNamespace
from typing import Any

from gradio import Blocks
from gradio.state_holder import SessionState, StateHolder


class VisitState(SessionState):
    """The values of one visit, and the components that its events have changed.

    Args:
        blocks: the page.
    """

    def __init__(self, blocks: Blocks) -> None:
        # Components are described where the page says that it has them: here it has none.
        bare = SimpleNamespace(default_config=blocks.default_config, blocks={})
        super().__init__(bare)  # type: ignore[arg-type]  # it reads no more than that
        # Nor are those that an event changes.
        self.blocks_config.config_for_block = _undescribed  # type: ignore[method-assign, assignment]  # ours alone
        own, page = self.blocks_config, blocks.default_config
        # What a visit changes lies above what all share.
        own.blocks = ChainMap({}, page.blocks)  # type: ignore[assignment]
        own.fns = ChainMap({}, page.fns)  # type: ignore[assignment]


def _undescribed(*_: object) -> dict[str, Any]:
    return {}


class VisitStates(StateHolder):
    """The visits of late, as many as gradio was told to keep."""

    def __getitem__(self, session_id: str) -> VisitState:
        if session_id not in self.session_data:
            self.session_data[session_id] = VisitState(self.blocks)
        state = super().__getitem__(session_id)
        assert isinstance(state, VisitState)
        return state
