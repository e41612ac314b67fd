"""What a program may call: `/chat`, `/adapters` and `/status`, typed and documented.

The docstrings are the API page and the tool descriptions, so they are written for its readers.
"""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TypedDict

import gradio as gr

from demo.adapter.library import SECRET, owner_of
from demo.adapter.passport import AdapterCard
from demo.errors import DemoError, InputError
from demo.runtime import Reply, Runtime
from demo.settings import Sampling
from demo.ui.files import Uploads
from demo.ui.html import printable
from demo.ui.strings import Strings
from demo.vision.video import VisualInput

logger = logging.getLogger(__name__)


class StatusInfo(TypedDict):
    """The answer of `/status`."""

    state: str
    base: str
    clip: str
    device: str
    bits: int
    threads: int
    memory_mb: float


def add_endpoints(runtime: Runtime, uploads: Uploads, strings: Strings, places: int) -> None:
    """Add the endpoints to the current `gr.Blocks`; `places` replies may be under way."""
    gr.api(
        chat_endpoint(runtime, uploads, strings),
        api_name="chat",
        concurrency_id="chat",
        concurrency_limit=places,
    )

    def adapters(key: str = "") -> list[AdapterCard]:
        """List the adapters that `/chat` can answer with.

        Parameters:
            key: Of a browser, as its Teach tab shows it: the adapters taught there come too.

        Returns:
            One entry an adapter: name, description, modalities ("text", "image"), number of
            parameters, and the base it was trained on.
        """
        with _explained(strings):
            return list(runtime.library.cards(_owner(key, strings), runtime.tower))

    def status() -> StatusInfo:
        """Say whether the model answers yet, and what it is.

        Returns:
            state ("loading", "ready" or "failed"), base, vision tower, device, bits a weight,
            threads, and memory in MB. Questions are taken in every state but "failed".
        """
        now = runtime.status()
        return StatusInfo(
            state=now.state,
            base=now.base,
            clip=now.clip,
            device=now.device,
            bits=now.bits,
            threads=now.threads,
            memory_mb=now.memory_mb,
        )

    gr.api(adapters, api_name="adapters", concurrency_limit=None)
    gr.api(status, api_name="status", concurrency_limit=None)


def chat_endpoint(
    runtime: Runtime, uploads: Uploads, strings: Strings
) -> Callable[..., Iterator[str]]:
    """Make the function behind `/chat`."""

    def chat(
        message: str,
        image: gr.FileData | None = None,
        adapter: str = "auto",
        system: str = "",
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        strength: float = 1.0,
        key: str = "",
    ) -> Iterator[str]:
        """Answer one message, with or without a picture or video, and streams the reply so far.

        Parameters:
            message: What to answer; may be empty when there is a picture or video.
            image: A JPEG, PNG, WebP or GIF of at most 10 MB, or an MP4, WebM or GIF video of at
                most 30 s and 50 MB; with gradio_client: handle_file(...).
            adapter: "auto" (with a picture, the adapter that knows such pictures, else the plain
                base), "none", or a name that /adapters lists.
            system: How the model should behave.
            max_new_tokens: Longest reply, in tokens.
            temperature: 0 always picks the likeliest token and is reproducible.
            top_p: Draw only from the likeliest tokens that together hold this probability.
            seed: The same seed repeats the same draw.
            strength: Of the adapter, 0 to 2: 1 is as it was taught, 0 the plain base.
            key: Of a browser, as its Teach tab shows it: for an adapter that was taught there.

        Returns:
            The reply, growing; the last item is the whole of it. It is what the model wrote and
            nothing else: a doubt about an unfamiliar picture is shown on the page alone.
        """

        def begin() -> Generator[Reply, None, None]:
            sampling = Sampling(
                temperature=temperature,
                top_p=top_p,
                max_new_tokens=max_new_tokens,
                seed=seed,
                strength=strength,
            )
            return runtime.answer(
                printable(_text("message", message, strings)),
                _opened(image, uploads, strings),
                adapter=_text("adapter", adapter, strings),
                system=printable(_text("system", system, strings)),
                sampling=sampling,
                owner=_owner(key, strings),
            )

        yield from _texts(begin, strings)

    chat.__annotations__["return"] = str  # the API page names the type of one item
    return chat


def _texts(begin: Callable[[], Generator[Reply, None, None]], strings: Strings) -> Iterator[str]:
    """Give the texts of the replies, or raise what goes wrong as a program may see it."""
    with _explained(strings), closing(begin()) as replies:
        for reply in replies:
            yield printable(reply.text)


@contextmanager
def _explained(strings: Strings) -> Iterator[None]:
    """Raise what goes wrong as an error that a program may see."""
    try:
        yield
    except DemoError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except Exception:
        logger.exception("an endpoint failed")
        raise gr.Error(strings.unexpected, print_exception=False) from None


def _owner(key: object, strings: Strings) -> str:
    """Return whose adapters a program may use, "" without a key."""
    key = _text("key", key, strings)
    if key and not SECRET.fullmatch(key):
        raise InputError(strings.not_a_key)
    return owner_of(key) if key else ""


def _text(name: str, value: object, strings: Strings) -> str:
    if not isinstance(value, str):
        raise InputError(strings.not_a_text.format(name=name))
    return value


def _opened(image: object, uploads: Uploads, strings: Strings) -> VisualInput | None:
    if image is None:
        return None
    path = image.get("path") if isinstance(image, dict) else None
    if not isinstance(path, str):
        raise InputError(strings.not_an_upload)
    return uploads.open(path)
