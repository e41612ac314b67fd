"""What other programs show of a link to the page: its name, a sentence, a picture.

Gradio's page says "Gradio" there, and English for its language whatever it speaks, while its own
words are in the browser's language. All is put right in the page's HTML on its way out. The picture
lies at `/preview.png`; a preview needs its whole address, which is the one that the page was asked
by.
"""

import re
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.ui.strings import Strings

PICTURE = "/preview.png"
SIZE = (1200, 630)  # pixels
# Gradio asks the browser for its language before any script of ours could run.
SPEAKS = """<script>((page) => {
  document.documentElement.dataset.asked = navigator.language ?? "";
  for (const [name, value] of [["language", page], ["languages", [page]]])
    Object.defineProperty(navigator, name, { value, configurable: true });
})("%s")</script>"""
_FOREIGN = re.compile(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>')


class LinkPreview:
    """Middleware that says what the page is.

    Args:
        app: what it stands before.
        languages: the page's words by its path: "/", "/zh".
        picture: a PNG of `SIZE`.
    """

    def __init__(self, app: ASGIApp, languages: dict[str, Strings], picture: Path) -> None:
        self._app, self._languages, self._picture = app, languages, picture

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the picture, or let the page pass with its own name in it."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        elif path == PICTURE:
            response = FileResponse(self._picture, headers={"cache-control": "max-age=86400"})
            await response(scope, receive, send)
        elif strings := self._languages.get(path.rstrip("/") or "/"):
            await self._app(scope, receive, _Rewriting(send, strings, _address(scope)))
        else:
            await self._app(scope, receive, send)


class _Rewriting:
    """Holds an HTML answer until it is whole, and sends it with another head."""

    def __init__(self, send: Send, strings: Strings, address: str) -> None:
        self._send, self._strings, self._address = send, strings, address
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            if headers.get(b"content-type", b"").startswith(b"text/html"):
                self._start = message
                return
        elif self._start:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = _named(self._body.decode("utf-8"), self._strings, self._address).encode("utf-8")
            length = (b"content-length", str(len(body)).encode())
            kept = [(n, v) for n, v in self._start["headers"] if n != b"content-length"]
            await self._send({**self._start, "headers": [*kept, length]})
            await self._send({"type": "http.response.body", "body": body})
            return
        await self._send(message)


def _address(scope: Scope) -> str:
    """Give where the page was asked for, without the slash at its end."""
    request = Request(scope)
    url = request.base_url
    if request.headers.get("x-forwarded-proto", "").split(",")[0] == "https":
        url = url.replace(scheme="https")
    return str(url).rstrip("/")


def _named(page: str, strings: Strings, address: str) -> str:
    told = {
        "og:type": "website",
        "og:site_name": strings.title,
        "og:title": strings.title,
        "og:description": strings.tagline,
        "og:locale": strings.locale,
        "og:url": address + ("" if strings.language == "en" else f"/{strings.language}"),
        "og:image": address + PICTURE,
        "og:image:width": str(SIZE[0]),
        "og:image:height": str(SIZE[1]),
        "og:image:alt": strings.title,
        "twitter:card": "summary_large_image",
        "twitter:title": strings.title,
        "twitter:description": strings.tagline,
        "twitter:image": address + PICTURE,
        "description": strings.tagline,
    }
    tags = "".join(
        f'<meta {"property" if name.startswith("og:") else "name"}="{name}" '
        f'content="{escape(value)}">'
        for name, value in told.items()
    )
    page = _FOREIGN.sub("", page)
    page = re.sub(r'(<html[^>]*?)lang="[^"]*"', rf'\1lang="{strings.html_language}"', page, count=1)
    added = tags + SPEAKS % strings.locale.replace("_", "-")
    return re.sub("<head[^>]*>", lambda head: head[0] + added, page, count=1)
