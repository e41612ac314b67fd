"""Who may ask, how often, and what every answer tells the browser.

Gradio answers under any name, hands any page of the web what it answers, and takes any number of
calls. This stands before everything else of it, so that it has the last word on each answer.
"""

import logging
import re
import time
from collections import Counter, deque
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from cachetools import LRUCache
from gradio.route_utils import API_PREFIX, FnIndexInferError
from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.ui.strings import ENGLISH, Strings

log = logging.getLogger(__name__)
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
LOGINS_A_MINUTE = 10
MINUTE = 60.0  # seconds
# What gradio raises where a request names something that is not there, or is of no known form.
STRANGE = (LookupError, ValueError, TypeError, AttributeError, FnIndexInferError)
VISITORS = 10_000  # whose calls are remembered; the longest quiet one is forgotten first
SAFE = ("GET", "HEAD")
OPEN_AT_ONCE = 256  # requests of one address, a page holding two; of a house behind one address too
# The page with all its settings takes a tenth of a second to make, and counts as three calls.
PAGE, PAGE_COSTS = re.compile(r"/(?:config|[a-z]{2}(?:-[a-z]+)?)?/?$"), 3
# What gradio answers and no page of ours asks for. Some write a file for each call, run ffmpeg,
# look for changes twenty times a second, or make a picture as large as one says.
CLOSED = re.compile(
    r"/(?:pwa_icon/(?!(?:192|512)$)"
    r"|monitoring(?:/|$)"
    rf"|{API_PREFIX[1:]}/(?:custom_component/|deep_link|dev/|process_recording|profiling/|proxy="
    r"|run-history/|runs(?:/|$)|stream/|undo-vibe|vibe-))"
)
# Where gradio's own page comes from when it is shared by its tunnel.
SHARED_ASSETS = "https://gradio.s3-us-west-2.amazonaws.com"
FRAMES = "'self' https://huggingface.co https://*.huggingface.co https://*.hf.space"


@dataclass(frozen=True)
class DoorRules:
    """What whoever starts the program decides.

    Attributes:
        hosts: names that the page is reached by; none is any.
        origins: of other sites whose pages may call.
        calls_a_minute: of one address that is not this machine's own; 0 is any number.
        shared: whether the page comes through gradio's tunnel too.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    calls_a_minute: int = 0
    shared: bool = False


class Door:
    """Check where a request comes from; give each answer its headers, and each fault a sentence.

    What gradio answers and the page does not need is closed.

    A visitor is an address. This machine's own is not counted but for passwords: it is its owner,
    or a proxy that does not say for whom it asks.
    """

    def __init__(self, app: ASGIApp, rules: DoorRules, strings: Strings = ENGLISH) -> None:
        self._app, self._rules, self._strings = app, rules, strings
        self._calls = Window(rules.calls_a_minute)
        self._logins = Window(LOGINS_A_MINUTE)
        self._headers = security_headers(rules)
        self._open: Counter[str] = Counter()  # requests under way, by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        foreign = bool(origin) and not self._own(origin, headers)
        answer = _Answer(send, self._headers, foreign)
        refusal = self._refusal(scope, headers, foreign)
        address = _address(scope)
        self._open[address] += 1
        try:
            await (refusal or self._app)(scope, receive, answer.pass_on)
        except Exception as error:
            if not answer.begun:
                await self._explained(error)(scope, receive, answer.send)
            elif not isinstance(error, STRANGE):
                log.exception("an answer broke off")
            return
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
        for message in answer.held:  # so gradio answers direct calls whose values are of no use
            await answer.send({**message, "status": 422})

    def _explained(self, error: Exception) -> PlainTextResponse:
        if isinstance(error, STRANGE):
            log.warning("a request was not understood: %s", type(error).__name__)
            return PlainTextResponse(self._strings.no_such_call, 400)
        log.error("a request failed", exc_info=error)
        return PlainTextResponse(self._strings.unexpected, 500)

    def _refusal(self, scope: Scope, headers: Headers, foreign: bool) -> PlainTextResponse | None:
        host = _name(headers.get("host", ""))
        if self._rules.hosts and host not in self._rules.hosts:
            return PlainTextResponse(self._strings.other_host, 421)
        path = get_route_path(scope)  # what gradio itself compares, wherever it is mounted
        if CLOSED.match(path):
            return PlainTextResponse(self._strings.no_such_call, 404)
        address, now = _address(scope), time.monotonic()
        if not _is_local(address) and self._open[address] >= OPEN_AT_ONCE:
            return self._slower(self._strings.too_many_calls)
        changing = scope["method"] not in SAFE
        if changing and foreign:
            return PlainTextResponse(self._strings.other_site, 403)
        login = changing and path.rstrip("/") == "/login"
        if login and not self._logins.admits(address, now):
            return self._slower(self._strings.too_many_logins)
        calls = PAGE_COSTS if PAGE.match(path) else int(changing)
        if calls and not _is_local(address) and not self._calls.admits(address, now, calls):
            return self._slower(self._strings.too_many_calls)
        return None

    def _slower(self, text: str) -> PlainTextResponse:
        return PlainTextResponse(text, 429, {"retry-after": str(int(MINUTE))})

    def _own(self, origin: str, headers: Headers) -> bool:
        """Tell whether a page of ours asks, or one that may."""
        if origin in self._rules.origins or headers.get("sec-fetch-site") == "same-origin":
            return True  # no page can set that header
        place = urlsplit(origin).netloc.lower()
        # A proxy may pass on its own name for ours.
        hosts = (headers.get("host", ""), headers.get("x-forwarded-host", ""))
        return bool(place) and place in (host.lower() for host in hosts)


class _Answer:
    """The answer to one request; one that says 500 is held back until it is known why."""

    def __init__(self, send: Send, headers: dict[str, str], foreign: bool) -> None:
        self._send, self._headers, self._foreign = send, headers, foreign
        self.begun = False
        self.held: list[Message] = []

    async def pass_on(self, message: Message) -> None:
        """Send, or hold back."""
        if self.held or message.get("status") == 500:
            self.held.append(message)
        else:
            await self.send(message)

    async def send(self, message: Message) -> None:
        """Send, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(raw=message["headers"])
            headers.update(self._headers)
            if self._foreign:
                del headers["access-control-allow-origin"]
                del headers["access-control-allow-credentials"]
        await self._send(message)


class Window:
    """At most `limit` calls of one visitor in any minute; 0 is any number."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: LRUCache[str, deque[float]] = LRUCache(VISITORS)

    def admits(self, visitor: str, now: float, calls: int = 1) -> bool:
        """Count so many calls at `now` (monotonic seconds), unless they are too many."""
        if not self._limit:
            return True
        times, calls = self._seen.get(visitor) or deque[float](), min(calls, self._limit)
        while times and now - times[0] >= MINUTE:
            times.popleft()
        if len(times) + calls > self._limit:
            return False
        times.extend([now] * calls)
        self._seen[visitor] = times
        return True


def security_headers(rules: DoorRules) -> dict[str, str]:
    """Make the headers of all answers.

    Gradio writes its settings into the page as a script and runs those of events by their text, so
    scripts in the page cannot be forbidden. But nothing is fetched from or sent to another site.
    """
    other = f" {SHARED_ASSETS}" if rules.shared else ""
    policy = {
        "default-src": f"'self'{other}",
        "script-src": f"'self' 'unsafe-inline' 'unsafe-eval' blob:{other}",
        "style-src": f"'self' 'unsafe-inline'{other}",
        "img-src": f"'self' data: blob:{other}",
        "media-src": "'self' data: blob:",
        "font-src": f"'self' data:{other}",
        "connect-src": f"'self' data: blob:{other}",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": f"'self'{other}",
        "form-action": "'self'",
        "frame-ancestors": " ".join((FRAMES, *rules.origins)),
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    }


def _address(scope: Scope) -> str:
    return (scope.get("client") or ("?", 0))[0]


def _name(host: str) -> str:
    """Return a Host header's name, without its port, in small letters."""
    host = host.lower().strip()
    return host[: host.find("]") + 1] if host.startswith("[") else host.rsplit(":", 1)[0]


def _is_local(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
