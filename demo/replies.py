"""One reply from beginning to end: which adapter answers, what the model reads, the text so far.

A reply is a generator: closing it ends the work. While the model or the tower is still loading it
says what it waits for.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, TypeVar

from demo.adapter.library import Fit, Library
from demo.chat.conversation import Conversation, ReplyStats
from demo.errors import CheckpointError, DemoError, InputError, NotReadyError
from demo.settings import Sampling, Settings
from demo.vision.familiar import with_doubt
from demo.vision.kinds import KINDS
from demo.vision.video import Sight, Video

if TYPE_CHECKING:
    from demo.adapter.adapter import Adapter
    from demo.chat.scheduler import Stream
    from demo.llama.model import Prefix
    from demo.models import Language
    from demo.vision.clip import Tower

T = TypeVar("T")
UPDATE_SECONDS = 0.05  # between two looks at a growing reply: fluent, and cheap for the browser
RESERVE = 64  # tokens of the window kept free for a reply
KEPT_PREFIXES = 64


@dataclass(frozen=True)
class Reply:
    """A reply so far. `waiting` is a sentence while it has not begun; `stats` come at the end."""

    text: str = ""
    done: bool = False
    waiting: str = ""
    stats: ReplyStats | None = None


@dataclass(frozen=True)
class _Plan:
    """Which adapter answers, and what it looks at."""

    name: str  # "none" for the plain base
    key: tuple[object, ...] = ()
    adapter: Adapter | None = None
    tower: Tower | None = None
    picture: Sight | None = None
    strength: float = 1.0
    unsure: bool = False  # the picture is unlike those the tower was taught with

    def said(self, text: str) -> str:
        """What the model wrote, as a visitor reads it."""
        return with_doubt(text) if self.unsure else text


class Replies:
    """Writes replies with what is loaded behind `language` and `tower`.

    `loading` says what is being done until then, and how far it is (0 to 1, None when unknown).
    """

    def __init__(
        self,
        settings: Settings,
        library: Library,
        language: Future[Language],
        tower: Future[Tower],
        loading: Callable[[], tuple[str, float | None]],
    ) -> None:
        self._settings, self._library, self._loading = settings, library, loading
        self._language, self._tower = language, tower
        self._prefixes: OrderedDict[tuple[object, ...], Prefix] = OrderedDict()

    def write(
        self,
        conversation: Conversation,
        *,
        adapter: str,
        sampling: Sampling,
        owner: str = "",
        drop_oldest: bool = False,
    ) -> Iterator[Reply]:
        """Answers the last user turn; closing the generator ends the reply within one token.

        Args:
            adapter: "auto" (while a picture is in use, the adapter that was taught with pictures
                most like it, else the plain base), "none", or a name.
            owner: who asks; adapters that others made do not exist for them.
            drop_oldest: leave out the oldest turns when the window is full.

        Raises:
            InputError: the adapter does not exist or cannot see the picture in use.
            ContextFullError: the conversation does not fit the window.
            BusyError: this conversation is being answered, or the queue is full.
            NotReadyError: the model could not be loaded.
        """
        conversation.begin()
        stream, plan, text = None, _Plan("none"), ""
        try:
            language = yield from self._wait(self._language)
            plan = yield from self._plan(adapter, conversation.picture, owner, sampling.strength)
            stream = self._submit(language, plan, conversation, sampling, drop_oldest)
            decoder, known = language.base.tokenizer.stream(), 0
            while not stream.done or known < len(stream.ids):
                stream.wait(known, UPDATE_SECONDS)
                fresh, known = stream.ids[known:], len(stream.ids)
                text += "".join(decoder.push(token) for token in fresh)
                if conversation.abandoned:
                    stream.cancel()
                yield Reply(plan.said(text), waiting="" if known else self._place(language, stream))
                if not stream.done:
                    time.sleep(UPDATE_SECONDS)
            text += decoder.finish()
            if stream.error:
                raise stream.error
            yield Reply(plan.said(text), done=True, stats=_stats(stream, plan))
        finally:
            if stream:
                stream.cancel()
            stats = _stats(stream, plan) if stream and text else None
            conversation.finish(plan.said(text), stats)

    def _submit(
        self,
        language: Language,
        plan: _Plan,
        conversation: Conversation,
        sampling: Sampling,
        drop_oldest: bool,
    ) -> Stream:
        from demo.chat.scheduler import Request

        tokenizer, window = language.base.tokenizer, self._settings.context
        reserve = min(sampling.max_new_tokens, RESERVE)
        ids = conversation.prompt(
            tokenizer.chat, window=window, reserve=reserve, drop_oldest=drop_oldest
        )
        limit = min(sampling.max_new_tokens, window - len(ids))
        return language.scheduler.submit(
            Request(
                ids,
                lambda: self._prefix(language, plan),
                plan.key,
                conversation.key,
                sampling,
                tokenizer.stop_ids,
                limit,
                self._settings.reply_seconds,
            )
        )

    def _plan(
        self, choice: str, picture: Sight | None, owner: str, strength: float
    ) -> Generator[Reply, None, _Plan]:
        """Which adapter answers; a generator, because a picture may have to wait for the tower."""
        seen = "video" if isinstance(picture, Video) else "picture"
        if choice == "none" and picture:
            raise InputError(
                "The plain base cannot see pictures. Choose auto or an image adapter, or remove "
                f"the {seen}."
            )
        if choice == "none" or (choice == "auto" and picture is None):
            return _Plan("none")
        if choice != "auto":
            offered = self._library.offered(owner)
            known = {entry.passport.name: entry.passport for entry in offered}
            if choice in known and picture and "image" not in known[choice].modalities:
                raise InputError(
                    f"The adapter '{choice}' was taught on text and cannot see pictures. Choose "
                    f"auto or an image adapter, or remove the {seen}."
                )
        tower = (yield from self._wait(self._tower)) if picture else None
        fit = self._fit(tower)
        name = choice
        if choice == "auto":
            assert tower and picture  # without one, nobody has to see
            name = self._most_alike(fit, tower, picture)
        adapter, entry = self._library.get(name, fit, owner)
        key = (name, entry.stamp, picture.digest if picture else "", strength)
        score = None
        # What a visitor taught may have learned from just such pictures: the doubt is not its own.
        if tower and picture and not self._library.owned(name):
            score = tower.familiarity(picture)
        unsure = score is not None and score < 0
        return _Plan(name, key, adapter, tower, picture, strength, unsure)

    def _most_alike(self, fit: Fit, tower: Tower, picture: Sight) -> str:
        """The adapter that was taught with pictures most like this one."""
        names = self._library.for_images(fit)
        if len(names) == 1:
            return names[0]

        def likeness(name: str) -> float:
            try:
                adapter = self._library.get(name, fit)[0]
            except CheckpointError:
                return -inf  # a damaged file blinds nobody but itself
            features = tower.seen(picture, adapter.spec.visual.kind)[None]
            return float(adapter.visual.likeness(features))

        return max(names, key=likeness)

    def _fit(self, tower: Tower | None) -> Fit:
        base = self._language.result().base
        return Fit(
            base.name,
            base.fingerprint,
            base.config,
            tower.name if tower else None,
            tower.fingerprint if tower else None,
            {kind: tower.seen_size(kind) for kind in KINDS} if tower else {},
        )

    def _prefix(self, language: Language, plan: _Plan) -> Prefix | None:
        """Run by the model's thread. A prefix is computed once for an adapter and a picture."""
        if plan.adapter is None:
            return None
        found = self._prefixes.pop(plan.key, None)
        if found is None:
            features = None
            visual = plan.adapter.spec.visual
            if plan.picture and plan.tower and visual:
                features = plan.tower.seen(plan.picture, visual.kind)[None]
            adapter = plan.adapter.to(language.model.device)
            found = adapter.fixed_prefix(language.model, features, strength=plan.strength)
        self._prefixes[plan.key] = found
        while len(self._prefixes) > KEPT_PREFIXES:
            self._prefixes.popitem(last=False)
        return found

    def _wait(self, part: Future[T]) -> Generator[Reply, None, T]:
        """Yields what is being done until a part is there, and returns it."""
        while not part.done():
            message, progress = self._loading()
            share = "" if progress is None else f", {progress:.0%}"
            what = message if part is self._language else "Loading the vision tower"
            yield Reply(waiting=f"{what}{share}")
            time.sleep(0.2)
        error = part.exception()
        if isinstance(error, DemoError):
            raise NotReadyError(str(error))
        if error:
            raise NotReadyError("The model could not be loaded. Please tell whoever runs this.")
        return part.result()

    def _place(self, language: Language, stream: Stream) -> str:
        place = language.scheduler.position(stream)
        return f"Busy: you are number {place} in the queue" if place else "Reading your message"


def _stats(stream: Stream, plan: _Plan) -> ReplyStats:
    count, first, last = len(stream.ids), stream.first, stream.last
    speed = (count - 1) / (last - first) if first and last and last > first else 0.0
    return ReplyStats(
        adapter=plan.name,
        image=plan.picture is not None,
        frames=len(plan.picture.frames) if isinstance(plan.picture, Video) else 0,
        prompt_tokens=len(stream.request.ids),
        reply_tokens=count,
        first_token_s=(first - stream.submitted) if first else 0.0,
        tokens_per_s=speed,
        stopped=stream.stopped or "cancelled",
    )
