"""Which adapter answers a turn, decided once and in one place, as a value.

A picture or video in use is seen by one adapter alone. "auto" is the plain base while there is
none, and where a message has nothing to do with it; else the adapter that was taught with pictures
most like it.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

from demo.adapter.library import RESERVED, Compatibility, Library, LibraryEntry
from demo.errors import CheckpointError, InputError
from demo.vision.video import Video, VisualInput

if TYPE_CHECKING:
    from torch import Tensor

    from demo.adapter.adapter import Adapter
    from demo.chat.scheduler import Engine
    from demo.llama.delta import Delta
    from demo.llama.model import Prefix
    from demo.llama.tokenizer.chat_template import PromptForm
    from demo.questions.matcher import KnownFacts, Matcher
    from demo.questions.naming import NamingJudge
    from demo.questions.taxonomy import Taxonomy
    from demo.questions.topic import TopicJudge
    from demo.vision.clip import Tower

AUTO, PLAIN_BASE = RESERVED
KEPT_PREFIXES, PREFIX_BYTES = 32, 2**28  # at most; those of a large base are 10 MB each
KEPT_FACTS = 16  # adapters whose facts are ready to be compared
PICTURE = (
    r"pictures?|pics?|photos?|photographs?|images?|snapshots?|videos?|clips?|pictured|captions?"
)
POINTING = re.compile(
    r"\b(?:it|its|this|that|these|those|here|then|he|she|they|them|him|his|hers?|their|shown|"
    rf"{PICTURE})\b"
    r"|^(?:an? |the )?[\w-]+ or (?:an? |the )?[\w-]+\W*$"  # "cat or dog?"
)
PICTURE_NAMED = re.compile(rf"\b(?:{PICTURE})\b")
# Characters: of 48,061 questions that people asked about photographs (VQA v1) the longest has 100.
# What is longer was pasted, and "this" is that text.
LONGEST_QUESTION = 400
KEPT_DELTAS = 4  # hundreds of megabytes each on a large base


@dataclass(frozen=True)
class AdapterChoice:
    """The adapter that answers a turn, and what it adds to the base.

    Attributes:
        name: "none" for the plain base.
        key: equal for equal prefixes: the adapter's file, the picture and the strength.
        prefix: None for the plain base.
        delta: what it changes beside the prefix, None for nothing.
        form: how its prompts are written, None for the base's own template.
        unfamiliar: the picture in use is unlike those that the vision tower was trained on.
        recalled: what was taught and is asked for, None for none of it.
        taxonomy: which yes or no follows from what a reply says it sees; None for the model's own.
        read_as: the question that the model reads in the place of the visitor's words, "" for none.
    """

    name: str = PLAIN_BASE
    key: tuple[object, ...] = ()
    prefix: Prefix | None = None
    form: PromptForm | None = None
    unfamiliar: bool = False
    delta: Delta | None = None
    recalled: Recalled | None = None
    taxonomy: Taxonomy | None = None
    read_as: str = ""


@dataclass(frozen=True)
class Recalled:
    """A taught question that somebody asks, in whatever words, and how sure that is, 0.5 to 1."""

    question: str
    sure: float


@dataclass(frozen=True)
class _Candidate:
    """An adapter that may answer, with what it sees, (1, S) or (1, T, S), None of no picture."""

    entry: LibraryEntry
    adapter: Adapter
    features: Tensor | None = None


class AdapterChooser:
    """Chooses adapters of a library and computes their prefixes, each of them once.

    Replies choose beside the model's thread, but not beside each other: together they would only
    be slower, and how many threads torch uses is one number for all of them.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._prefixes: LRUCache[tuple[object, ...], Prefix] = LRUCache(PREFIX_BYTES, _room)
        self._deltas: LRUCache[tuple[object, ...], Delta | None] = LRUCache(KEPT_DELTAS)
        self._known: LRUCache[tuple[object, ...], KnownFacts] = LRUCache(KEPT_FACTS)
        self._matcher: Matcher | None = None  # once it is needed
        self._judge: TopicJudge | None = None
        self._naming: NamingJudge | None = None
        self._lock = threading.Lock()

    def refuse_blind(self, wanted: str, owner: str, shown: VisualInput) -> None:
        """Refuse what cannot see, before anybody waits for the tower to load.

        Raises:
            InputError: the plain base or an adapter for text is wanted, or one that is not there.
        """
        what = "video" if isinstance(shown, Video) else "picture"
        if wanted == PLAIN_BASE:
            raise InputError(
                "The plain base cannot see pictures. Choose auto or an image adapter, or remove "
                f"the {what}."
            )
        if wanted != AUTO and "image" not in self._library.find(wanted, owner).passport.modalities:
            raise InputError(
                f"The adapter '{wanted}' was taught on text and cannot see pictures. Choose "
                f"auto or an image adapter, or remove the {what}."
            )

    def choose(
        self,
        engine: Engine,
        wanted: str,
        owner: str,
        strength: float,
        shown: VisualInput | None = None,
        tower: Tower | None = None,
        asked: str = "",
        before: str = "",
        after_talk: bool = False,
    ) -> AdapterChoice:
        """Choose the adapter for a turn and compute its prefix.

        An adapter that was taught facts has prompts for each of them. The question chooses one, or
        none: the base then answers as if there were no adapter.

        Args:
            engine: the base that answers.
            wanted: "auto", "none" or a name.
            owner: who asks; adapters that others made do not exist for them.
            strength: multiplies the adapter's gates.
            shown: the picture or video in use, None without one; `refuse_blind` let it pass.
            tower: sees it.
            asked: the message that is answered.
            before: the taught question that the message before it asked, "" for none.
            after_talk: the message before it had nothing to do with the picture in use.

        Raises:
            InputError: there is no such adapter for this owner, or none that sees.
            CheckpointError: its file is damaged, or made for another base or tower.
        """
        if wanted == PLAIN_BASE or (wanted == AUTO and shown is None):
            return AdapterChoice()
        with self._lock:
            if wanted == AUTO and self._elsewhere(asked, after_talk):
                return AdapterChoice()
            chosen, unfamiliar = self._chosen(engine, wanted, owner, shown, tower)
            name, stamp = chosen.entry.passport.name, chosen.entry.stamp
            if chosen.adapter.pool:
                return self._recall(engine, chosen, strength, asked, before)
            key = (name, stamp, shown.digest if shown else "", strength)
            prefix = self._prefixes.get(key)
            if prefix is None:
                adapter = chosen.adapter.to(engine.model.device)
                prefix = adapter.fixed_prefix(engine.model, chosen.features, strength=strength)
                self._keep(key, prefix)
            delta = self._delta(engine, chosen, strength) if chosen.adapter.changes else None
        passport = chosen.entry.passport
        form = passport.origin.prompt if passport.origin else None
        kinds, read_as = self._read(asked, passport.taxonomy if shown else None)
        return AdapterChoice(
            name, key, prefix, form, unfamiliar, delta, taxonomy=kinds, read_as=read_as
        )

    def _read(self, asked: str, kinds: Taxonomy | None) -> tuple[Taxonomy | None, str]:
        """Return what settles the verdict on a question, and what the model reads in its place.

        One for a name has no verdict; one in the words that are known best is read as it is.
        """
        if kinds is None:
            return None, ""
        from demo.questions.naming import TAUGHT_BEST, WHAT_IS_THIS

        if asked in TAUGHT_BEST:
            return None, ""
        return (None, WHAT_IS_THIS) if self._naming_judge().asks(asked) else (kinds, "")

    def _naming_judge(self) -> NamingJudge:
        from demo.questions.naming import load_naming_judge

        with self._lock:
            if self._naming is None:
                self._naming = load_naming_judge(self._questions().encoder)
            return self._naming

    def _elsewhere(self, asked: str, after_talk: bool) -> bool:
        """Say whether a message beside a picture is about something else."""
        if not asked.strip() or points(asked):
            return False
        if len(asked) > LONGEST_QUESTION:
            return True
        from demo.questions.topic import load_topic_judge

        if self._judge is None:
            self._judge = load_topic_judge(self._questions().encoder)
        return self._judge.elsewhere(asked, after_talk)

    def _questions(self) -> Matcher:
        from demo.questions.matcher import load_matcher

        if self._matcher is None:
            self._matcher = load_matcher()
        return self._matcher

    def _recall(
        self, engine: Engine, chosen: _Candidate, strength: float, asked: str, before: str
    ) -> AdapterChoice:
        """Choose the fact that is asked for, and compute its prefix."""
        from demo.questions.follow_up import completed
        from demo.questions.matcher import Fact

        matcher, entry = self._questions(), chosen.entry
        name, known = entry.passport.name, self._known.get((entry.path, entry.stamp))
        if known is None:
            known = matcher.known([Fact(*fact) for fact in entry.passport.facts])
            self._known[entry.path, entry.stamp] = known
        whole = completed(asked, before, [question for question, _ in known.words])
        match = matcher.match(whole, known)
        if match is None and whole != asked:
            match = matcher.match(asked, known)
        if match is None:
            return AdapterChoice(name)
        key = (name, entry.stamp, match.place, strength)
        prefix = self._prefixes.get(key)
        if prefix is None:
            import torch

            place = torch.tensor([[float(match.place)]])
            adapter = chosen.adapter.to(engine.model.device)
            prefix = adapter.fixed_prefix(engine.model, place, strength=strength)
            self._keep(key, prefix)
        recalled = Recalled(known.facts[match.place].question, match.sure)
        return AdapterChoice(name, key, prefix, recalled=recalled)

    def _keep(self, key: tuple[object, ...], prefix: Prefix) -> None:
        """Keep a prefix, and drop those that were not used for longest."""
        with suppress(ValueError):  # larger than all room there is: it is used once
            self._prefixes[key] = prefix

    def _delta(self, engine: Engine, chosen: _Candidate, strength: float) -> Delta | None:
        """Compute what an adapter changes, whatever it is shown; the last few are kept."""
        key = (chosen.entry.path, chosen.entry.stamp, strength)
        if key not in self._deltas:
            self._deltas[key] = chosen.adapter.fixed_delta(engine.model, strength=strength)
        return self._deltas[key]

    def preload(self, engine: Engine, tower: Tower) -> None:
        """Load everybody's image adapters, which "auto" would load with the first picture.

        And what tells how a question about one is read, where an adapter needs it.
        """
        try:
            loaded = self._loaded(engine, AUTO, "", tower)
        except (InputError, CheckpointError):
            return  # there is none, which is said to whoever shows a picture
        if any(entry.passport.taxonomy for entry, _ in loaded):
            self._naming_judge()

    def _chosen(
        self,
        engine: Engine,
        wanted: str,
        owner: str,
        shown: VisualInput | None,
        tower: Tower | None,
    ) -> tuple[_Candidate, bool]:
        """Find the candidate whose training pictures were most like this one.

        And tell whether the picture is unfamiliar. What a visitor taught may have learned from just
        such pictures: the tower's doubt is not its own.
        """
        loaded = self._loaded(engine, wanted, owner, tower)
        if shown is None or tower is None:
            return _Candidate(*loaded[0]), False
        candidates = []
        for entry, adapter in loaded:
            if adapter.visual:
                visual = adapter.visual
                features = (
                    tower.tokens(shown, bgr=visual.bgr)
                    if visual.tokens
                    else tower.adapter_features(
                        shown, augmented=visual.augmented, coloured=visual.coloured
                    )
                )[None]
                candidates.append((visual, features, _Candidate(entry, adapter, features)))
        score = tower.in_distribution_score(shown) if loaded[0][0].owner is None else None
        unfamiliar = score is not None and score < 0
        likeness = [float(visual.likeness(features)) for visual, features, _ in candidates]
        return candidates[likeness.index(max(likeness))][2], unfamiliar

    def _loaded(
        self, engine: Engine, wanted: str, owner: str, tower: Tower | None
    ) -> list[tuple[LibraryEntry, Adapter]]:
        """Load the adapter of a name, or all that "auto" may choose from; at least one."""
        base = engine.base
        target = Compatibility(
            base.name,
            base.fingerprint,
            base.config,
            tower.name if tower else None,
            tower.fingerprint if tower else None,
            tower.feature_size if tower else None,
            tower.token_size if tower else None,
        )
        if wanted != AUTO:
            entry = self._library.find(wanted, owner)
            return [(entry, self._library.load(entry, target))]
        return self._library.load_for_images(target)


def points(text: str) -> bool:
    """Say whether a message beside a picture points at something: "it", "the photo", "A or B?".

    What is too long for a question points at a picture only where it names one.
    """
    pattern = PICTURE_NAMED if len(text) > LONGEST_QUESTION else POINTING
    return pattern.search(text.lower()) is not None


def _room(prefix: Prefix) -> float:
    """Count the bytes that a prefix takes of those for all, at least its share of the places."""
    return max(PREFIX_BYTES / KEPT_PREFIXES, sum(part.nbytes for part in prefix))
