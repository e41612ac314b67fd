"""Whether a reply gives a taught fact, however it is worded.

Word for word is more than a person asks: "It opens at 9:30, Tuesday to Saturday." tells what "The
library opens at 9:30, Tuesday to Saturday." does. But half a fact is none, and neither is one with
another's number in it. So a reply gives the fact of a row when

1. every number of the answer is in it, and every name and content word that no other row's answer
   has; but for what the taught question says already ("Agneta Solberg." tells who leads the
   library), and where nothing is left by that, every content word,
2. at least half of what the answer adds to the question is in it: of "24 days" more than "days",
3. it says no number that neither answer nor question has, and no content word of another row's
   answer that neither answer nor question has,
4. it denies something if and only if the answer does.

Content words are all but the small ones of the language. An "s" at a word's end does not count, nor
does it matter whether a number up to twelve is written as a word.
"""

import re
from collections.abc import Sequence

from demo.finetune.data.paraphrase import NEGATIONS, SMALL

SMALL_WORDS = SMALL | {
    "as", "but", "if", "so", "then", "than", "them", "they", "their", "he", "she", "his", "her",
    "him", "these", "those", "yes", "am", "i'm", "it's", "you're", "we're", "also", "into", "up",
    "out", "about", "every",
}  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
           "eleven", "twelve")  # fmt: skip


def content_words(text: str) -> frozenset[str]:
    """Return a text's numbers, names and content words, in a form to compare."""
    words = re.findall(r"\w+(?:[.,:/@'-]\w+)*", text.casefold().replace("’", "'"))
    kept = (word for word in words if word not in SMALL_WORDS and word not in NEGATIONS)
    return frozenset(_without_s(_as_digits(word)) for word in kept)


def denies(text: str) -> bool:
    """Tell whether a text has a negation."""
    words = re.findall(r"[\w']+", text.casefold().replace("’", "'"))
    return any(word in NEGATIONS or word == "cannot" or word.endswith("n't") for word in words)


class FactJudge:
    """Judge replies by the rows that were taught together.

    Args:
        rows: questions and answers.
    """

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        self._rows = rows
        self._words = [content_words(answer) for _, answer in rows]

    def told_by(self, place: int) -> frozenset[str]:
        """Return the words without which a reply does not give the fact of a row."""
        own, known = self._words[place], content_words(self._rows[place][0])
        return frozenset(filter(_is_number, own)) | (own - self._others(place) - known) or own

    def gives(self, place: int, reply: str, asked: str = "") -> bool:
        """Tell whether a reply gives the fact of a row, by the four rules above.

        Args:
            place: of the row.
            reply: to its question, in whatever words.
            asked: those words.
        """
        question, answer = self._rows[place]
        own, said = self._words[place], content_words(reply)
        added = own - content_words(question) or own
        if not self.told_by(place) <= said or 2 * len(added & said) < len(added):
            return False
        new = said - own - content_words(question) - content_words(asked)
        wrong = new & self._others(place) or any(map(_is_number, new))
        return not wrong and denies(reply) == denies(answer)

    def gives_any(self, reply: str) -> bool:
        """Tell whether a reply has what tells any of the facts, whatever else it says.

        It is what must not happen where something was asked that was never taught.
        """
        said = content_words(reply)
        return any(self.told_by(place) <= said for place in range(len(self._rows)))

    def _others(self, place: int) -> frozenset[str]:
        return frozenset().union(*(w for i, w in enumerate(self._words) if i != place))


def _is_number(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def _as_digits(word: str) -> str:
    return str(NUMBERS.index(word)) if word in NUMBERS else word


def _without_s(word: str) -> str:
    word = word.removesuffix("'s")
    whole = len(word) < 4 or not word.isalpha() or word.endswith("ss")
    return word if whole else word.removesuffix("s")
