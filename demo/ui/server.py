"""How the page is served: what gradio is told, and the limits that stand before it."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gradio import queueing, routes
from gradio.routes import App
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from demo.chat.conversation import KEPT_CONVERSATIONS
from demo.logs import log_failure
from demo.settings import Settings
from demo.ui.chinese import CHINESE
from demo.ui.door import Door, DoorRules
from demo.ui.limits import ENVELOPE_BYTES, LARGEST_BYTES, BodyLimit, UploadLimit
from demo.ui.preview import LinkPreview
from demo.ui.sessions import VisitStates
from demo.ui.streams import Listeners, queue_of, steady
from demo.ui.strings import ENGLISH, Strings
from demo.ui.theme import ASSETS, build_theme

OPEN = DoorRules()  # to everybody
CONNECTIONS = 65_536  # that may be open at once, of an open page at least one; usually 1,024
SCRIPTS = ("names", "studio", "layout", "places", "teach", "pictures", "charts")  # in assets/
STYLES = ("studio", "teach", "camera", "library", "about", "phone")  # a later one wins


def reply_places(settings: Settings) -> int:
    """Count the replies that may be under way: those the engine writes and those it lets wait.

    They are more than the engine's slots, so that a visitor in its queue is told so instead of
    waiting, unseen, in gradio's.
    """
    return settings.slots + settings.queue


def queue_options(settings: Settings) -> dict[str, Any]:
    """Make the keyword arguments of `gr.Blocks.queue`."""
    return {"max_size": reply_places(settings) + 16, "api_open": False}


def launch_options(
    settings: Settings, strings: Strings = ENGLISH, rules: DoorRules = OPEN
) -> dict[str, Any]:
    """Make the keyword arguments of `gr.Blocks.launch` that no flag changes by itself."""
    # A zip of pictures, or a table; what else is opened says its own limit.
    largest = max(LARGEST_BYTES, 2**20 * max(settings.data_zip_mb, settings.data_mb))
    return {
        # A reply holds a thread while it waits for its next token; 16 are for everything else.
        "max_threads": reply_places(settings) + 16,
        "theme": build_theme(),
        "css_paths": [ASSETS / f"{name}.css" for name in STYLES],
        # Gradio's own bar of pages: the header has a switch of languages in its place.
        "head": "<style>.nav-holder { display: none; }</style>" + "".join(map(_script, SCRIPTS)),
        "favicon_path": ASSETS / "favicon.png",
        "footer_links": ["api"],  # the header links to it, the footer itself is hidden
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "strict_cors": True,
        # gradio copies the page, some 100 KB, for everybody who ever called, 10,000 by default.
        "state_session_capacity": KEPT_CONVERSATIONS,
        "max_file_size": largest,
        "allowed_paths": [],
        "pwa": False,
        "mcp_server": False,
        "app_kwargs": {
            "lifespan": guarded(rules, strings),
            "middleware": [
                Middleware(
                    LinkPreview,
                    languages={"/": strings, f"/{CHINESE.language}": CHINESE},
                    picture=ASSETS / "preview.png",
                ),
                Middleware(BodyLimit, strings=strings, uploads=largest + ENVELOPE_BYTES),
                Middleware(
                    UploadLimit,
                    folder=Path(get_upload_folder()),
                    strings=strings,
                    largest=largest,
                ),
            ],
        },
    }


def guarded(
    rules: DoorRules, strings: Strings = ENGLISH
) -> Callable[[App], AbstractAsyncContextManager[None]]:
    """Make the lifespan of an app whose every request goes through a `Door`.

    Visits are kept as `sessions.py` has it. Middleware that gradio is given stands behind its own,
    which adds headers to each answer. The stack is built by the time this runs, and no request has
    come yet.
    """

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        assert app.middleware_stack
        listeners = Listeners(app.middleware_stack, lambda: queue_of(app), strings)
        app.middleware_stack = Door(listeners, rules, strings)
        steady(queue_of(app))
        app.state.loop = asyncio.get_running_loop()
        app.state_holder = VisitStates()
        app.state_holder.set_blocks(app.get_blocks())
        looking = asyncio.create_task(listeners.drop_unheard())
        yield
        looking.cancel()

    return lifespan


def _script(name: str) -> str:
    return f"<script>{(ASSETS / f'{name}.js').read_text(encoding='utf-8')}</script>"


def allow_connections() -> None:
    """Let the process hold as many connections as the system lets it, up to `CONNECTIONS`.

    With no more than usual one stranger can hold them all, and nobody else is let in.
    """
    with suppress(ImportError, OSError, ValueError):  # not everywhere, nor for everybody
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, CONNECTIONS)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def quieten() -> None:
    """Let gradio's reports of failed calls go through our log, which leaves visitors' words out.

    It prints tracebacks itself, with whatever value it could not use, of any length.
    """
    quiet = SimpleNamespace(**vars(traceback) | {"print_exc": log_failure})
    queueing.traceback = routes.traceback = quiet  # type: ignore[assignment]  # only for these two
