"""How the page is served: what gradio is told, and what stands in front of it."""

from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.runtime import KEPT_CONVERSATIONS
from demo.settings import Settings
from demo.ui.theme import ASSETS, build_theme
from demo.ui.upload_room import UploadRoom

UPLOAD_LIMIT = "200mb"  # one file: a zip of pictures; what else is opened says its own limit
UPLOAD_BODY_LIMIT = 202 * 2**20  # bytes of one request: a file and its envelope
UPLOADS_LIMIT = 2 * 2**30  # bytes of all files that nobody has used or swept away yet
BODY_LIMIT = 12 * 2**20  # of any other, which is read into memory as one piece


class BodyLimit:
    """Refuses a request body above `limit` bytes, or `uploads` where files are received; gradio
    itself reads any length.

    Counts what arrives, since the announced length may be missing or wrong.
    """

    def __init__(self, app: ASGIApp, limit: int, uploads: int) -> None:
        self._app = app
        self._limit, self._uploads = limit, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen, refused = 0, False
        limit = self._uploads if scope["path"].endswith("/upload") else self._limit

        async def counted() -> Message:
            nonlocal seen, refused
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def answer(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self._app(scope, counted, answer)
        except Exception:
            if not refused:
                raise
        if refused:
            headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            await send({"type": "http.response.body", "body": b"The request is too large."})


def reply_places(settings: Settings) -> int:
    """How many replies may be under way: those the engine writes and those it lets wait.

    More than the engine's slots, so that a visitor in its queue is told so instead of waiting,
    unseen, in gradio's.
    """
    return settings.slots + settings.queue


def queue_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of `gr.Blocks.queue`."""
    return {"max_size": reply_places(settings) + 16, "api_open": False}


def launch_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of `gr.Blocks.launch` that no flag changes."""
    return {
        # A reply holds a thread while it waits for its next token; 16 are for everything else.
        "max_threads": reply_places(settings) + 16,
        "theme": build_theme(),
        "css_paths": [ASSETS / "studio.css", ASSETS / "teach.css"],
        "head": f"<script>{(ASSETS / 'studio.js').read_text(encoding='utf-8')}</script>",
        "favicon_path": ASSETS / "favicon.png",
        "footer_links": ["api"],  # the header links to it, the footer itself is hidden
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "strict_cors": True,
        # gradio copies the page, some 100 KB, for everybody who ever called, 10,000 by default.
        "state_session_capacity": KEPT_CONVERSATIONS,
        "max_file_size": UPLOAD_LIMIT,
        "allowed_paths": [],
        "pwa": False,
        "mcp_server": False,
        "app_kwargs": {
            "middleware": [
                Middleware(UploadRoom, folder=Path(get_upload_folder()), limit=UPLOADS_LIMIT),
                Middleware(BodyLimit, limit=BODY_LIMIT, uploads=UPLOAD_BODY_LIMIT),
            ]
        },
    }
