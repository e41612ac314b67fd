"""Kinds of things, and which wider words are true of each: what yes and no follow from.

A picture adapter that was taught from a tree of kinds carries it in its passport. Its reply says
what is seen, "This is a ram (a sheep, an animal), so yes."; whether that answers "Is it a mammal?"
with yes is no matter of taste, and a small base gets it wrong now and then. So where a question
asks for one word of the tree and the reply has named one kind of it, the verdict is the tree's, and
verdict and words cannot disagree. All else stays as the model wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

MOST_ASKED = 200  # characters of a question
MOST_KINDS, MOST_WORDS, MOST_CHARACTERS = 20_000, 100, 100  # words a kind, characters a word
SHOWN = r"(?:picture|photo(?:graph)?|image|pic|snapshot|video|scene)"
LEAD = re.compile(r"^(?:(?:please|hey|hi|so|well|ok|okay|and|yes or no)\b\W*)+")
END = re.compile(
    rf"(?:\W+(?:(?:in|on|inside) (?:it|here|(?:the|this|that|my|your) {SHOWN})|here|there|shown|"
    r"please|at all|by any chance|or not|or what is it|and what is it|isn't it|is it|isn't this|"
    r"am i right|right|correct|true|really|actually|maybe|perhaps|then|to you|yes or no))+\W*$"
)
# What may stand before the word that is asked for; "bigger than" and "made of" may not.
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
        a an the some any one is isn't are was it it's its this that these those there thing kind
        sort type of could can can't might may would wouldn't do don't does doesn't did be you i we
        say see think call called count counts as considered what whether if tell me show shows look
        looks like looking at picture photo photograph image am right in my have got here check
        really actually
        """,
    )
)
VERDICT = re.compile(
    r"^(?P<said>.+), so (?P<doubt>probably )?(?P<given>yes|not?|maybe)\.?$", re.DOTALL
)
NAMED = re.compile(r"^(?:this|that|it) (?:is|may be|might be) (?P<name>.+)$")
DENIED = re.compile(r"^(?P<said>.+), not (?P<word>[^,]+?)\.?$", re.DOTALL)
TWICE = re.compile(r"\b(?P<name>(?:an? |some |the )?\w[\w' -]{0,60}), maybe (?P=name)\b")
DOUBT = re.compile(r"\b(?:may|might) be\b|, maybe ")
OPEN = re.compile(r"\W*(?:\w+\W+)?(?:what|which|who|where|how|why)\b", re.IGNORECASE)
GROWING = re.compile(r", (?:so|not)\b[^,]*$|,\s*[sno]{0,2}$")


@dataclass(frozen=True)
class Taxonomy:
    """Kinds by their names, each with the words that are true of it and of others too.

    Words have no article and are in lower case.

    Attributes:
        kinds: names, and wider words, of each kind.

    Raises:
        ValueError: too many kinds or words, or too long a word.
        TypeError: something else than words.
    """

    kinds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.kinds) <= MOST_KINDS:
            raise ValueError(f"{len(self.kinds)} kinds")
        for names, wider in self.kinds:
            if not names or len(names) + len(wider) > MOST_WORDS:
                raise ValueError(f"{len(names)} names and {len(wider)} words of a kind")
            for word in (*names, *wider):
                if not isinstance(word, str):
                    raise TypeError("not a word")
                if not 0 < len(word) <= MOST_CHARACTERS:
                    raise ValueError(f"a word of {len(word)} characters")

    def to_json(self) -> dict[str, Any]:
        """Write each wider word once, and by number wherever it is true."""
        places: dict[str, int] = {}
        kinds = [
            [list(names), [places.setdefault(word, len(places)) for word in wider]]
            for names, wider in self.kinds
        ]
        return {"wider": list(places), "kinds": kinds}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Taxonomy:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError, IndexError: it is something else.
        """
        words = raw["wider"]
        kinds = ((names, [words[place] for place in wider]) for names, wider in raw["kinds"])
        return cls(tuple((tuple(names), tuple(wider)) for names, wider in kinds))

    def agreed(self, question: str, reply: str) -> str:
        """Give a reply the verdict that follows from what it says itself.

        Args:
            question: that was asked.
            reply: as the model wrote it.

        Returns:
            The reply with another yes or no, or with one where it only names what is seen, or
            without ", not a mammal" where it is one, and without wider words that are not true of
            what it names, or ", maybe a ram" of a ram; as it was where it names nothing known, or
            the question asks for something else than one word.
        """
        reply = TWICE.sub(r"\g<name>", reply)
        text = reply.strip()
        if found := DENIED.match(text):
            said, true = self._seen(found["said"])
            return f"{said}." if self._known(bare(found["word"].lower())) in true else reply
        given, asked = VERDICT.match(text), self.asked(question)
        if not asked or (not given and OPEN.match(question)):
            return reply
        said, true = self._seen(given["said"] if given else text.removesuffix("."))
        follows = asked in true if true else self._follows(asked, said)
        if follows is None:
            return reply
        open_still = not given or given["given"] == "maybe"
        doubt = DOUBT.search(said) if open_still else given and given["doubt"]
        words = ("probably not", "probably yes") if doubt else ("no", "yes")
        return f"{said}, so {words[follows]}."

    def _follows(self, word: str, said: str) -> bool | None:
        """Tell whether a word is true of all kinds of the group that a reply names, or of none."""
        named, _, rest = said.lower().removesuffix(")").partition(" (")
        found = (
            NAMED.match(named) if all(self._known(bare(w)) for w in rest.split(", ") if w) else None
        )
        group = self._known(bare(found["name"])) if found else ""
        within = [kind for kinds in self._by_name.values() for kind in kinds if group in kind]
        having = sum(word in kind for kind in within)
        return having > 0 if within and having in (0, len(within)) else None

    def asked(self, question: str) -> str:
        """Return the word of the tree that a question wants a yes or no about, "" for none."""
        if len(question) > MOST_ASKED:
            return ""  # a text to read, and the patterns' time grows with its square
        plain = re.split(r"[?!.;\n]", LEAD.sub("", question.lower().replace("’", "'").strip()))[0]
        words = re.findall(r"[\w'-]+(?: *\([\w ]+\))?", END.sub("", plain))
        word, before = self._last(words)
        while before:  # "is this dog a": of another thing's name only articles and pointing is left
            if before[-1] in FUNCTION_WORDS:
                before = before[:-1]
                continue
            also, before_it = self._last(before)
            if not also:
                return ""
            before = before_it
        return word

    def _last(self, words: Sequence[str]) -> tuple[str, Sequence[str]]:
        """Return the longest known word that a question ends with, and what stands before it."""
        for start in range(max(0, len(words) - self._longest), len(words)):
            if known := self._known(" ".join(words[start:])):
                return known, words[:start]
        return "", words

    def _known(self, word: str) -> str:
        """Return a word of the tree as it is there, or the one that it is the plural of."""
        ends = {"": "", "s": "", "es": "", "ies": "y", "ves": "f"}
        forms = [word.removesuffix(a) + b for a, b in ends.items() if word.endswith(a)]
        return next((form for form in forms if form in self._words), "")

    def _seen(self, said: str) -> tuple[str, frozenset[str]]:
        """Return what a reply says it sees, and all words true of that; none where it is open.

        Words in brackets that are not true of what is named are left out.
        """
        text, told = said.strip(), list[str]()
        found = NAMED.match(text.lower())
        if found and bare(found["name"].rpartition(", maybe ")[2]) not in self._by_name:
            text, brackets, rest = text.removesuffix(")").rpartition(" (")
            told = rest.split(", ") if brackets else []
            found = NAMED.match(text.lower())
        group, _, guess = found["name"].rpartition(", maybe ") if found else ("", "", "")
        kinds = self._by_name.get(bare(guess), [])
        told_words = {bare(word.lower()) for word in told}
        if not kinds or not all(map(self._known, told_words)):
            return said, frozenset()
        # Of kinds that share a name, an animal and a hat, the one that the reply goes on to tell.
        true = frozenset().union(*([k for k in kinds if told_words <= k] or kinds))
        true |= {bare(group)} if group else frozenset()
        told = [word for word in told if bare(word.lower()) in true]
        return f"{text} ({', '.join(told)})" if told else text, true

    @cached_property
    def _by_name(self) -> dict[str, list[frozenset[str]]]:
        """All words that are true of each kind of a name."""
        found: dict[str, list[frozenset[str]]] = {}
        for names, wider in self.kinds:
            for name in names:
                found.setdefault(name, []).append(frozenset((*names, *wider)))
        return found

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(word for kind in self.kinds for words in kind for word in words)

    @cached_property
    def _longest(self) -> int:
        return max(word.count(" ") for word in self._words) + 1


def bare(phrase: str) -> str:
    """Return a phrase without its article."""
    first, _, rest = phrase.strip().partition(" ")
    return rest if first in ("a", "an", "some", "the") and rest else phrase.strip()


def settled_part(reply: str) -> str:
    """Leave out the end of a growing reply that may still become another verdict."""
    return GROWING.sub("", reply)
