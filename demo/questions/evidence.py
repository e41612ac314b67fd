"""What speaks for and against that a question asks for a taught fact.

Vectors of meaning alone do not tell: "How much is a rye loaf?" is as near to "How much is a
sourdough loaf?" as another wording of it would be. The difference is one word, in a sentence that
is otherwise the same. So words are compared too, in both directions: what the question says that
neither the taught question nor its answer has in any like word, what it lacks, how much of the
frame is the same, and how unlike the word is that stands in another's place; numbers, and which
kind of thing is asked for.

Words are English ones; characters of Chinese and the like count as words of their own.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Vector = np.ndarray  # (W,) fp32 of length 1
WordVector = Callable[[str], Vector]

SMALL = frozenset((
    "a", "an", "the", "is", "are", "am", "was", "were", "do", "does", "did", "can", "could",
    "will", "would", "should", "may", "might", "must", "shall", "have", "has", "had", "be",
    "been", "being", "of", "for", "to", "in", "on", "at", "by", "with", "from", "and", "or",
    "your", "you", "i", "me", "my", "we", "our", "us", "it", "its", "this", "that", "these",
    "those", "there", "please", "what", "which", "who", "whom", "whose", "when", "where", "how",
    "why", "much", "many", "any", "as", "but", "if", "so", "then", "than", "them", "they",
    "their", "he", "she", "his", "her", "him", "yes", "no", "i'm", "i'd", "i've", "it's",
    "you're", "you've", "we're", "what's", "where's", "who's", "that's", "there's", "can't",
    "don't", "also", "into", "up", "out", "about", "every", "all", "some", "something",
    "somebody", "someone", "here", "tell", "know", "find", "get", "got", "take", "come", "one",
    "kind", "sort", "way", "thing", "things", "like", "want", "need", "lot", "really", "mine",
    "yours", "ok", "okay", "today", "now", "too", "just", "only", "let", "lets", "let's", "not",
    "never", "without", "except",
))  # fmt: skip
KINDS = (  # of what is asked for, the first that fits
    ("time", r" (when|what time|(what|which|on which|on what) days?|how (early|late|soon)|"
             r"what (date|hour)|(from|since|until) when) "),
    ("place", r" (where|where's|address|(what|which|in which) (place|location|room)) "),
    ("person", r" (who|whose|whom|who's) "),
    ("amount", r" (how (much|many|long|old|heavy|high|often|big|expensive)|"
               r"price|costs?|fees?|pay) "),
    ("manner", r" how "),
    ("whether", r"^ (is|are|do|does|did|can|may|could|am|will|must|has|have|should) "),
    ("what", r" (what|which|what's) "),
)  # fmt: skip
ENDINGS = ("ings", "ing", "ies", "ied", "ed", "ers", "er", "es", "ly", "s")
UNLIKE = 0.55  # words less alike than this have nothing in common
NAMES = (
    "likeness", "likeness of the question", "likeness of the answer", "ahead of the others",
    "its words, found", "its word found least", "its words not found",
    "taught words, found", "taught word found least", "taught words not found",
    "its words, in the question", "its words, exactly", "taught words, exactly",
    "frame", "small words", "exchanged word", "frame with an exchanged word",
    "another number", "a number is missing", "a number too many",
    "the same kind", "another kind", "letters in common", "length", "no content",
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """A text as it is compared.

    Attributes:
        text: as it was written.
    """

    text: str

    @cached_property
    def all(self) -> tuple[str, ...]:
        """Give its words in small letters."""
        plain = self.text.casefold().replace("’", "'")
        return tuple(re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|\w+(?:[.,:/@'-]\w+)*", plain))

    @cached_property
    def content(self) -> tuple[str, ...]:
        """Give those that are not small words of the language."""
        return tuple(word for word in self.all if word not in SMALL)

    @cached_property
    def stems(self) -> frozenset[str]:
        """Give the content words without their endings."""
        return frozenset(map(stem, self.content))

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Give the words with a digit."""
        return frozenset(w for w in self.content if any(letter.isdigit() for letter in w))

    @cached_property
    def letters(self) -> Counter[str]:
        """Count the runs of three letters of the content words."""
        joined = " ".join(self.content)
        return Counter(joined[i : i + 3] for i in range(len(joined) - 2))

    @cached_property
    def kind(self) -> str:
        """Tell what kind of thing is asked for, "" where no word says so."""
        padded = f" {' '.join(self.all)} "
        return next((kind for kind, pattern in KINDS if re.search(pattern, padded)), "")


def stem(word: str) -> str:
    """Cut a word's ending, roughly."""
    word = word.removesuffix("'s")
    end = next((e for e in ENDINGS if word.endswith(e) and len(word) - len(e) >= 3), "")
    word = word.removesuffix(end)
    return word.rstrip("e") if len(word) > 3 else word


def evidence(
    asked: Words, question: Words, answer: Words, likeness: Sequence[float], vector: WordVector
) -> list[float]:
    """Return the numbers that `NAMES` names, for one question and one fact.

    Args:
        asked: by somebody.
        question: as it was taught.
        answer: that was taught.
        likeness: the first four of the numbers, from vectors of whole texts.
        vector: of a word.
    """
    w, q, a = asked.content, question.content, answer.content
    frame = _ratio(asked.all, question.all)
    exchanged = _exchanged(asked.all, question.all, vector)
    new, gone = asked.numbers - question.numbers, question.numbers - asked.numbers
    new -= answer.numbers
    common = 2 * sum((asked.letters & question.letters).values())
    every = asked.letters.total() + question.letters.total()
    kinds = asked.kind, question.kind
    return [
        *likeness,
        *_found(w, (*q, *a), vector),
        *_found(q, w, vector),
        _found(w, q, vector)[0],
        len(asked.stems & (question.stems | answer.stems)) / max(1, len(asked.stems)),
        len(asked.stems & question.stems) / max(1, len(question.stems)),
        frame,
        _ratio(_small(asked), _small(question)),
        exchanged,
        frame * (1 - exchanged),
        float(bool(new and gone)),
        float(bool(gone)),
        float(bool(new)),
        float(kinds[0] == kinds[1]),
        float(kinds[0] != kinds[1] and all(kinds)),
        common / max(1, every),
        len(w) / 5,
        float(not w),
    ]


def _found(words: Sequence[str], among: Sequence[str], vector: WordVector) -> tuple[float, ...]:
    """Tell how like each word is to the one most like it: the mean, the least, how many are unlike.

    Words with the same stem are the same.
    """
    if not words:
        return 0.5, 0.5, 0.0
    if not among:
        return 0.0, 0.0, float(len(words))
    stems, others = set(map(stem, among)), np.stack([vector(word) for word in among])
    best = [1.0 if stem(w) in stems else float((others @ vector(w)).max()) for w in words]
    return sum(best) / len(best), min(best), float(sum(each < UNLIKE for each in best))


def _exchanged(one: Sequence[str], two: Sequence[str], vector: WordVector) -> float:
    """Tell how like the content words are that stand in each other's place, of the least alike."""
    least = 1.0
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, two, False).get_opcodes():
        pairs = [(x, y) for x in one[a:b] for y in two[c:d] if not {x, y} & SMALL]
        if kind == "replace" and pairs:
            likest = max(
                1.0 if stem(x) == stem(y) else float(vector(x) @ vector(y)) for x, y in pairs
            )
            least = min(least, likest)
    return least


def _small(text: Words) -> tuple[str, ...]:
    return tuple(word for word in text.all if word in SMALL)


def _ratio(one: Sequence[str], two: Sequence[str]) -> float:
    return difflib.SequenceMatcher(None, one, two, False).ratio()
