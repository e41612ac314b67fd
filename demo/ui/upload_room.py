"""What visitors send lies on the disk for a while; together it may fill no more than so much."""

from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

FULL = "Too many files are being received at the moment. Please try again in some minutes."


class UploadRoom:
    """Refuses files while those in `folder` hold more than `limit` bytes."""

    def __init__(self, app: ASGIApp, folder: Path, limit: int) -> None:
        self._app, self._folder, self._limit = app, folder, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload = scope["type"] == "http" and scope["path"].endswith("/upload")
        if upload and self._used() > self._limit:
            await PlainTextResponse(FULL, status_code=507)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _used(self) -> int:
        used = 0
        for path in self._folder.rglob("*"):
            try:
                used += path.stat().st_size if path.is_file() else 0
            except OSError:  # it went meanwhile
                continue
        return used
