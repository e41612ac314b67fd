"""Sentences of the layers below the page, said in the page's language.

Those layers know no page and speak English: what went wrong, what is being done, what a check
found. `assets/sentences.zh.tsv` has each in Chinese, one a line: the English with `{}` where
something is filled in, a tab, and the translation with `{0}`, `{1}`, … in their places; `{0*}` is
translated too. A message of several sentences is looked up whole, then piece by piece; what the
file does not have stays English.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path

from demo.ui.theme import ASSETS

_END = re.compile(r"(?<=[.:?!])\s+")
_FILLED = re.compile(r"\{(\d+)(\*?)\}")


class Sentences:
    """The translations into one language; without any, everything stays as it is.

    Args:
        translations: English with `{}` for what is filled in → the other language.
    """

    def __init__(self, translations: Mapping[str, str] | None = None) -> None:
        given = translations or {}
        self._whole = {text: said for text, said in given.items() if "{}" not in text}
        self._gaps = {text: said for text, said in given.items() if "{}" in text}

    @classmethod
    def of(cls, language: str, typeset: Callable[[str], str] = str) -> "Sentences":
        """Read those of a language, "zh", each set as the language is."""
        known = read_sentences(ASSETS / f"sentences.{language}.tsv")
        return cls({text: typeset(said) for text, said in known.items()})

    def __call__(self, text: str) -> str:
        """Say a message in this language."""
        if not text or not (self._whole or self._gaps):
            return text
        parts, said, at = _END.split(text.strip()), [], 0
        while at < len(parts):
            found, taken = self._next(parts[at:])
            said.append(found)
            at += taken
        return "".join(said).strip()

    def _next(self, parts: list[str]) -> tuple[str, int]:
        """Say the first of some sentences, or as many as belong together → how many these are.

        What is filled in may hold sentences itself: as few as will do.
        """
        for count in range(len(parts), 0, -1):
            if (text := " ".join(parts[:count])) in self._whole:
                return self._whole[text], count
        for count in range(1, len(parts) + 1):
            text = " ".join(parts[:count])
            for pattern, said in self._patterns:
                if match := pattern.fullmatch(text):
                    return _FILLED.sub(partial(self._fill, match), said), count
        return parts[0] + " ", 1

    def _fill(self, match: re.Match[str], gap: re.Match[str]) -> str:
        value = match[int(gap[1]) + 1]
        return self(value) if gap[2] else value

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """Give what matches each sentence with gaps; the one with most words of its own first."""
        longest = sorted(self._gaps, key=lambda text: -len(text))
        return [(_pattern(text), self._gaps[text]) for text in longest]


def _pattern(text: str) -> re.Pattern[str]:
    """Compile what matches a sentence; what fills a gap at its end ends in no colon: more comes."""
    end = "(?<!:)" if text.endswith("{}") else ""
    return re.compile("(.*?)".join(map(re.escape, text.split("{}"))) + end, re.DOTALL)


def read_sentences(path: Path) -> dict[str, str]:
    """Read a file of translations: English, a tab, the translation, one a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines if line)  # type: ignore[misc]
