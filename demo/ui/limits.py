"""What is refused before gradio sees it: bodies and uploads that are too long or too many.

Gradio reads any length, lets a request bring a thousand files, and keeps all that was ever sent.
What lies unused is counted here as it comes, in memory: these lines run where all requests are
answered, so a walk through the folder would hold up everybody.
"""

import asyncio
import errno
import json
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gradio.route_utils import API_PREFIX
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.ui.files import CUT_SECONDS
from demo.ui.strings import ENGLISH, Strings

BODY_BYTES = 10**6  # of a request without files: it is parsed in one piece while all others wait
BODY_PARTS = (
    50_000  # lists and objects of such a request: each costs the parser what many letters do
)
LARGEST_BYTES = 200 * 2**20  # of one file, unless the program was started with more
ENVELOPE_BYTES = 2 * 2**20  # of a request, around its largest file
FORM_BYTES = 64_000  # of an upload's parts that are no files, which gradio keeps in memory
FILES_A_REQUEST = 4  # the page sends one at a time
FILES_A_VISITOR = 200  # unused at one time: far more than a person attaches in an hour
BYTES_A_VISITOR = 512 * 2**20  # two of the largest files, and pictures beside them
FILES_OF_ALL = 4_000  # looked at within milliseconds
BYTES_OF_ALL = 2 * 2**30
SPARE_BYTES = 64 * 2**20  # of the disk, left to everything else
STALLED_SECONDS = 60.0  # without a byte, after which an upload is given up
DISCONNECT: Message = {"type": "http.disconnect"}


class BodyLimit:
    """Refuse a request body above `limit` bytes, or `uploads` where files are received.

    What arrives is counted, since the announced length may be missing or wrong; one that is
    announced as too long is not read at all.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int = BODY_BYTES,
        uploads: int = LARGEST_BYTES + ENVELOPE_BYTES,
        strings: Strings = ENGLISH,
    ) -> None:
        self._app, self._strings = app, strings
        self._limit, self._uploads = limit, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        files = _receives_files(scope)
        left = limit = self._uploads if files else self._limit
        parts, refusal = 0, _too_large(self._strings, limit)
        if _announced(Headers(scope=scope)) > limit:
            await _refusal(413, refusal)(scope, receive, send)
            return

        def check(body: bytes) -> Response | None:
            nonlocal left, parts
            left -= len(body)
            parts += 0 if files else body.count(b"[") + body.count(b"{")
            return _refusal(413, refusal) if left < 0 or parts > BODY_PARTS else None

        await _serve(self._app, scope, receive, send, check)


@dataclass(eq=False)
class _Held:
    """What one request has put on the disk.

    Attributes:
        paths: of its files; none while it is under way, and none of one that was cut off.
        until: when the rest of one that was cut off has been swept (monotonic seconds).
    """

    visitor: str
    files: int = 0
    bytes: int = 0
    paths: list[Path] = field(default_factory=list)
    until: float = float("inf")

    def gone(self) -> bool:
        """Tell whether nothing of it is left."""
        if self.paths:
            return not any(path.exists() for path in self.paths)
        return time.monotonic() > self.until


class UploadLimit:
    """Bound what unused uploads take, each visitor's and all together, and place each file apart.

    Gradio names a file's folder by the file's content: two visitors who send the same picture
    would share it, and whoever used it first would take it from the other. So each is moved to a
    folder of its own, which nobody can guess. A visitor is an address; all else can be made up.
    """

    def __init__(
        self,
        app: ASGIApp,
        folder: Path,
        strings: Strings = ENGLISH,
        largest: int = LARGEST_BYTES,
    ) -> None:
        self._app, self._folder, self._strings = app, folder, strings
        self._largest = largest
        self._more = 2 * max(0, largest - LARGEST_BYTES)  # room where files may be larger
        self._held: list[_Held] = []
        self._files: Counter[str] = Counter()  # by visitor, and by "" of all
        self._bytes: Counter[str] = Counter()
        self._placing = asyncio.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _receives_files(scope):
            await self._app(scope, receive, send)
            return
        headers, held = Headers(scope=scope), _Held((scope.get("client") or ("?", 0))[0])
        if refusal := await self._full(held.visitor, headers):
            await refusal(scope, receive, send)
            return
        self._held.append(held)
        form = _Form(headers.get("content-type", ""))

        def check(body: bytes) -> Response | None:
            try:
                form.feed(body)
            except FormParserError:
                return _refusal(400, self._strings.upload_damaged)
            self._count(held, form.files - held.files, len(body))
            if form.files > FILES_A_REQUEST or form.field_bytes > FORM_BYTES:
                return _refusal(413, _too_large(self._strings, self._largest))
            return self._over(held.visitor)

        placing = _Placing(self._placing, self._folder, receive, send)
        try:
            await _serve(self._app, scope, placing.receive, placing.send, check)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or placing.answered:
                raise
            self._drop_rest()
            await _refusal(507, self._strings.uploads_full)(scope, receive, send)
        finally:
            placing.close()
            held.paths = placing.paths
            held.until = time.monotonic() + 2 * CUT_SECONDS

    def _count(self, held: _Held, files: int, size: int) -> None:
        held.files, held.bytes = held.files + files, held.bytes + size
        for whose in (held.visitor, ""):
            self._files[whose] += files
            self._bytes[whose] += size

    def _over(self, visitor: str, more: int = 0) -> Response | None:
        """Refuse what goes beyond a bound; `more` files are about to come."""
        if self._files[""] + more > FILES_OF_ALL or self._bytes[""] > BYTES_OF_ALL + self._more:
            return _refusal(507, self._strings.uploads_full)
        room = BYTES_A_VISITOR + self._more
        if self._files[visitor] + more > FILES_A_VISITOR or self._bytes[visitor] > room:
            return _refusal(429, self._strings.uploads_yours)
        return None

    async def _full(self, visitor: str, headers: Headers) -> Response | None:
        """Refuse a request whose files have no room, even when what is gone is counted out."""
        if self._over(visitor, 1):
            held = list(self._held)
            gone = await asyncio.to_thread(lambda: [one.gone() for one in held])
            for one in (one for one, over in zip(held, gone, strict=True) if over):
                if one in self._held:  # another request may have counted it out meanwhile
                    self._held.remove(one)
                    self._count(one, -one.files, -one.bytes)
            self._files, self._bytes = +self._files, +self._bytes  # without visitors of nothing
        if shutil.disk_usage(self._folder).free < _announced(headers) + SPARE_BYTES:
            return _refusal(507, self._strings.uploads_full)
        return self._over(visitor, 1)

    def _drop_rest(self) -> None:
        """Delete what a full disk has cut off, unless others are sending: the sweep finds it."""
        if sum(one.until == float("inf") for one in self._held) == 1:
            for path in self._folder.iterdir():
                if path.is_file():
                    path.unlink(missing_ok=True)


class _Placing:
    """The end of one upload: from its last byte on, its files are moved before another's are.

    Gradio puts equal files of two requests into one place, where they must not meet.
    """

    def __init__(self, lock: asyncio.Lock, folder: Path, receive: Receive, send: Send) -> None:
        self._lock, self._folder = lock, folder
        self._receive, self._send = receive, send
        self._locked = False
        self._start: Message = {}
        self._body = b""
        self.paths: list[Path] = []
        self.answered = False

    async def receive(self) -> Message:
        """Pass the body on; take the lock with its last piece."""
        try:
            message = await asyncio.wait_for(self._receive(), STALLED_SECONDS)
        except TimeoutError:
            return DISCONNECT
        if message["type"] == "http.request" and not (message.get("more_body") or self._locked):
            await self._lock.acquire()
            self._locked = True
        return message

    async def send(self, message: Message) -> None:
        """Hold the answer back until the files it names lie apart, and name these."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        if self._start["status"] == 200:
            sent = [Path(path) for path in json.loads(self._body)]
            self.paths = await asyncio.to_thread(_place_apart, self._folder, sent)
            self._body = json.dumps([str(path) for path in self.paths]).encode()
        MutableHeaders(raw=self._start["headers"])["content-length"] = str(len(self._body))
        self.answered = True
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": self._body})

    def close(self) -> None:
        """Let the next one in."""
        if self._locked:
            self._lock.release()


class _Form:
    """Counts an upload's files, and the bytes of its other parts, as gradio tells them apart."""

    def __init__(self, content_type: str) -> None:
        self.files = self.field_bytes = 0
        self._is_file, self._header, self._value = False, b"", b""
        self._disposition = b""
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        # Without a boundary gradio refuses the request before it reads anything.
        self._parser = boundary and MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._add,
                "on_header_end": self._end,
                "on_headers_finished": self._finished,
                "on_part_data": self._data,
            },
        )

    def feed(self, body: bytes) -> None:
        """Take the next piece. Raises FormParserError where it is damaged."""
        if self._parser and body:
            self._parser.write(body)

    def _begin(self) -> None:
        self._disposition = b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _finished(self) -> None:
        self._is_file = b"filename" in parse_options_header(self._disposition)[1]
        self.files += self._is_file

    def _data(self, _: bytes, start: int, end: int) -> None:
        self.field_bytes += 0 if self._is_file else end - start


async def _serve(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    check: Callable[[bytes], Response | None],
) -> None:
    """Let `app` answer, unless `check` refuses a piece of the body: that is all it hears then."""
    refusal: Response | None = None

    async def checked() -> Message:
        nonlocal refusal
        message = await receive()
        refusal = refusal or check(message.get("body", b""))
        return DISCONNECT if refusal else message

    async def answer(message: Message) -> None:
        if not refusal:
            await send(message)

    try:
        await app(scope, checked, answer)
    except Exception:
        if not refusal:
            raise
    if refusal:
        await refusal(scope, receive, send)


def _place_apart(folder: Path, sent: list[Path]) -> list[Path]:
    placed = []
    for path in sent:
        place = folder / secrets.token_hex(32) / path.name
        place.parent.mkdir()
        path.replace(place)
        with suppress(OSError):  # another file of this content and another name
            path.parent.rmdir()
        placed.append(place)
    return placed


def _refusal(status: int, text: str) -> Response:
    return PlainTextResponse(text, status_code=status, headers={"connection": "close"})


def _too_large(strings: Strings, limit: int) -> str:
    """Say how many bytes and files a request may bring."""
    return strings.too_large.format(limit=f"{limit // 10**6:,}", files=FILES_A_REQUEST)


def _announced(headers: Headers) -> int:
    """Return the bytes that a request says it has, 0 where it says nothing of use."""
    told = headers.get("content-length", "")
    return int(told) if told.isdecimal() and len(told) < 16 else 0


def _receives_files(scope: Scope) -> bool:
    """Tell gradio's own upload from calls of a handler that has such a name, `run/upload`."""
    return scope["type"] == "http" and get_route_path(scope) == f"{API_PREFIX}/upload"
