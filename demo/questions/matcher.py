"""Which taught fact a question asks for, or none: a value, with how sure it is.

The few facts nearest in meaning are looked at closely. A network of one small hidden layer rates
each of them, and none of them, by the evidence. Its weights were fitted once, on questions that
people might ask about things that this program does not know (`checkpoints/recipes/questions/`),
and hold for whatever is taught.

Vectors of meaning alone do not tell: "How much is a rye loaf?" is as near to "How much is a
sourdough loaf?" as another wording of it would be. The difference is one word, in a sentence that
is otherwise the same. So words are compared too, in both directions: what the question says that
neither the taught question nor its answer has in any like word, what it lacks, how much of the
frame is the same, and how unlike the word is that stands in another's place; numbers, and which
kind of thing is asked for.

People teach one thing in many questions ("Who are you?", "What is your name?"), and a question may
be meant as any of them. So what is chosen is the answer that agrees most with what is likely to be
meant (least Bayes risk), and how sure it is counts every fact as far as its answer says the same.

Words are English ones; characters of Chinese and the like count as words of their own.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import Tensor

from demo.errors import CheckpointError
from demo.questions.chinese import WIDE, plain_chinese
from demo.questions.encoder import FOLDER, SentenceEncoder

CLOSELY = 4  # facts, the nearest in meaning, that are looked at closely
LEAST_SURE = 0.5  # that this fact's answer is asked for, neither another's nor none
MOST_WORDS = 20_000  # whose vectors are kept
READ = 400  # characters of an answer
Network = dict[str, np.ndarray]
WordVector = Callable[[str], np.ndarray]
UNLIKE = 0.55  # words less alike than this have nothing in common
EVIDENCE = (
    "likeness", "likeness of the question", "likeness of the answer", "ahead of the others",
    "its words, found", "its word found least", "its words not found",
    "taught words, found", "taught word found least", "taught words not found",
    "its words, in the question", "its words, exactly", "taught words, exactly",
    "frame", "small words", "exchanged word", "frame with an exchanged word",
    "another number", "a number is missing", "a number too many",
    "the same kind", "another kind", "letters in common", "length", "no content",
    "in Chinese characters",
)  # fmt: skip
STOP_WORDS = frozenset((
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
DENYING = frozenset(("no", "not", "never", "without", "except", "cannot"))
# Characters that say little by themselves, as the small words of English do.
SMALL_CHARACTERS = frozenset(
    "的了吗呢吧啊呀嘛么啦哦我你您他她它们这那是在有和跟与就都也还很请问可以能会要想把被给让到去来个位"
    "一些什谁哪几多少怎样时候先说告诉知道道"
)
SMALL = STOP_WORDS | SMALL_CHARACTERS
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
CHINESE_KINDS = (
    ("time", "什么时候|几点|哪天|哪一天|多久|何时|几号|时间"),
    ("place", "哪里|哪儿|在哪|什么地方|地址|几楼|哪一层"),
    ("person", "谁|哪位|哪一位"),
    ("amount", "多少|几个|几岁|多大|多高|价格"),
    ("manner", "怎么|如何"),
    ("whether", "吗|能不能|是不是|可不可以|有没有|会不会"),
    ("what", "什么|哪|啥"),
)
ENDINGS = ("ings", "ing", "ies", "ied", "ed", "ers", "er", "es", "ly", "s")


class Fact(NamedTuple):
    """A question that was taught, and its answer."""

    question: str
    answer: str


class Match(NamedTuple):
    """The place of the fact that a question asks for, and how sure its answer is, 0.5 to 1."""

    place: int
    sure: float


class KnownFacts:
    """Facts, and what they are compared by.

    Args:
        facts: G of them.
        encoder: of their texts.
    """

    def __init__(self, facts: Sequence[Fact], encoder: SentenceEncoder) -> None:
        self.facts = [Fact(fact.question, fact.answer[:READ]) for fact in facts]
        self.words = [(Words(fact.question), Words(fact.answer)) for fact in self.facts]
        together = [" ".join(fact) for fact in self.facts]
        parts = (together, [f.question for f in self.facts], [f.answer for f in self.facts])
        self.keys: Tensor = torch.stack([encoder.encode(part) for part in parts])  # (3, G, W)
        self.asked = {plain(fact.question): place for place, fact in enumerate(self.facts)}
        others = [(f.question, at) for at, f in enumerate(self.facts) if not f.question.isascii()]
        self.asked_in_chinese = {plain_chinese(question): at for question, at in others}


class Matcher:
    """Matches questions with facts; safe to use from several threads.

    Args:
        encoder: of questions and facts.
        network: that rates them.
    """

    def __init__(self, encoder: SentenceEncoder, network: Network) -> None:
        self.encoder, self._network = encoder, network
        self._vectors: dict[str, np.ndarray] = {}

    def known(self, facts: Sequence[Fact]) -> KnownFacts:
        """Prepare facts to be asked for; a few milliseconds each."""
        return KnownFacts(facts, self.encoder)

    def match(self, asked: str, known: KnownFacts) -> Match | None:
        """Return the fact that is asked for, None for none of them."""
        if not known.facts or not asked.strip():
            return None
        place = known.asked.get(plain(asked))
        if place is None and known.asked_in_chinese and (chinese := plain_chinese(asked)):
            place = known.asked_in_chinese.get(chinese)
        if place is not None:
            return Match(place, 1.0)
        places, found = self.candidates(asked, known)
        if not places:
            return None
        rated = rate(self._network, found)
        most = max(0.0, float(rated.max()))
        likely = np.exp(rated - most) / (np.exp(-most) + np.exp(rated - most).sum())
        # Where any of several facts may be meant, it is the answer that has to be right.
        answers = [known.words[place][1] for place in places]
        right = np.array([[agreement(a, b) for b in answers] for a in answers]) @ likely
        best = int(right.argmax())
        sure = min(1.0, float(right[best]))
        return Match(places[best], sure) if sure >= LEAST_SURE else None

    def candidates(self, asked: str, known: KnownFacts) -> tuple[list[int], np.ndarray]:
        """Return the places of the nearest facts, and the evidence for each (C, E)."""
        likeness = (known.keys @ self.encoder.encode([asked])[0]).numpy()  # (3, G)
        whole = likeness[0]
        words, rows = Words(asked), list[list[float]]()
        near = whole + likeness[1]
        if words.wide:  # the encoder speaks English
            near = np.array([common_letters(words, question) for question, _ in known.words])
        order = np.argsort(-near, kind="stable").tolist()
        # What two scripts have in common for the encoder is chance.
        nearest = [at for at in order if known.words[at][0].wide == words.wide][:CLOSELY]
        for place in nearest:
            # A fact with the same answer is no rival.
            same = [f.answer == known.facts[place].answer for f in known.facts]
            rivals = whole[~np.array(same)]
            ahead = whole[place] - (rivals.max() if len(rivals) else 0.0)
            question, answer = known.words[place]
            alike = [*likeness[:, place].tolist(), float(ahead)]
            rows.append(evidence(words, question, answer, alike, self._vector))
        return nearest, np.array(rows, np.float32)

    def _vector(self, word: str) -> np.ndarray:
        found = self._vectors.get(word)
        if found is None:
            if len(self._vectors) >= MOST_WORDS:
                self._vectors.clear()
            found = self._vectors[word] = self.encoder.word(word)
        return found


def load_matcher(folder: Path = FOLDER) -> Matcher:
    """Load the shipped encoder and network.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    return Matcher(SentenceEncoder(folder), read_network(folder / "matcher.safetensors"))


def plain(question: str) -> str:
    """Bring a question into a form to compare: without case, spacing and its last marks."""
    return " ".join(question.casefold().split()).rstrip("?!.？！。 ")


def rate(network: Network, found: np.ndarray) -> np.ndarray:
    """Rate evidence (C, E) → (C,); what is above 0 is likelier than none.

    Args:
        network: mean (E,), deviation (E,), and of M networks, whose mean counts, inner (M, h, E),
            bias (M, h), outer (M, h), offset (M,).
        found: of each fact.
    """
    x = (found - network["mean"]) / network["deviation"]
    inner = np.tanh(np.einsum("mhe,ce->cmh", network["inner"], x) + network["bias"])
    rated = np.einsum("cmh,mh->cm", inner, network["outer"]) + network["offset"]
    return rated.mean(1)


def read_network(path: Path) -> Network:
    """Read the weights of `rate`.

    Raises:
        CheckpointError: the file is missing, damaged, or of other evidence.
    """
    try:
        network = load(path.read_bytes())
        models, hidden, size = network["inner"].shape
        shapes = {
            "mean": (size,), "deviation": (size,), "inner": (models, hidden, len(EVIDENCE)),
            "bias": (models, hidden), "outer": (models, hidden), "offset": (models,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if network[name].shape != shape or not np.isfinite(network[name]).all():
                raise ValueError(name)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"'{path.name}', which tells what a question asks for, is missing or damaged. Get the "
            "program again."
        ) from error
    return network


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
        return tuple(re.findall(rf"{WIDE}|\w+(?:[.,:/@'-]\w+)*", plain))

    @cached_property
    def wide(self) -> bool:
        """Tell whether it is written, in part at least, in Chinese or Japanese characters."""
        return re.search(WIDE, self.text) is not None

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
    def denies(self) -> bool:
        """Tell whether there is a negation in it."""
        return any(word in DENYING or word.endswith("n't") for word in self.all)

    @cached_property
    def letters(self) -> Counter[str]:
        """Count the runs of three letters of the content words; in Chinese, of one and of two."""
        if self.wide:
            return Counter((*self.all, *map("".join, pairwise(self.all))))
        joined = " ".join(self.content)
        return Counter(joined[i : i + 3] for i in range(len(joined) - 2))

    @cached_property
    def kind(self) -> str:
        """Tell what kind of thing is asked for, "" where no word says so."""
        kinds, text = KINDS, f" {' '.join(self.all)} "
        if self.wide:
            kinds, text = CHINESE_KINDS, self.text
        return next((kind for kind, pattern in kinds if re.search(pattern, text)), "")


def stem(word: str) -> str:
    """Cut a word's ending, roughly."""
    word = word.removesuffix("'s")
    end = next((e for e in ENDINGS if word.endswith(e) and len(word) - len(e) >= 3), "")
    word = word.removesuffix(end)
    return word.rstrip("e") if len(word) > 3 else word


def agreement(one: Words, other: Words) -> float:
    """Tell how far two answers say the same, 0 to 1: the share of content words that both have.

    With another number, or where one denies, they do not; without words they do if they are alike.
    """
    if one.all == other.all:
        return 1.0
    every = one.stems | other.stems
    if one.numbers != other.numbers or one.denies != other.denies or not every:
        return 0.0
    return len(one.stems & other.stems) / len(every)


def common_letters(one: Words, other: Words) -> float:
    """Tell which share of their letters two texts have in common, 0 to 1."""
    common = 2 * sum((one.letters & other.letters).values())
    return common / max(1, one.letters.total() + other.letters.total())


def evidence(
    asked: Words, question: Words, answer: Words, likeness: Sequence[float], vector: WordVector
) -> list[float]:
    """Return the numbers that `EVIDENCE` names, for one question and one fact.

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
    kinds = asked.kind, question.kind
    return [
        *likeness,
        *_found(w, (*q, *a), vector),
        *_found(q, w, vector),
        _found(w, q, vector)[0],
        len(asked.stems & (question.stems | answer.stems)) / max(1, len(asked.stems)),
        len(asked.stems & question.stems) / max(1, len(question.stems)),
        frame,
        _ratio(_stop_words(asked), _stop_words(question)),
        exchanged,
        frame * (1 - exchanged),
        float(bool(new and gone)),
        float(bool(gone)),
        float(bool(new)),
        float(kinds[0] == kinds[1]),
        float(kinds[0] != kinds[1] and all(kinds)),
        common_letters(asked, question),
        len(w) / 5,
        float(not w),
        float(asked.wide),
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
        pairs = [(x, y) for x in one[a:b] for y in two[c:d] if not {x, y} & STOP_WORDS]
        if kind == "replace" and pairs:
            likest = max(
                1.0 if stem(x) == stem(y) else float(vector(x) @ vector(y)) for x, y in pairs
            )
            least = min(least, likest)
    return least


def _stop_words(text: Words) -> tuple[str, ...]:
    return tuple(word for word in text.all if word in STOP_WORDS)


def _ratio(one: Sequence[str], two: Sequence[str]) -> float:
    return difflib.SequenceMatcher(None, one, two, False).ratio()
