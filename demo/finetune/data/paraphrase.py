"""Facts as they are learned: each row several times as it was taught, and in other words.

Wordings are made by rule, and all follows from the rows and the seed, so a run that is taken up
learns from the same texts.

A fact that was seen in one wording is known in that wording alone (arXiv 2312.05934). So each
question is varied while it is learned: courtesies, lower case, its key words alone, small words
dropped, question words exchanged, "tell me ...", no question mark, a typing error.

Only English words are changed, and only small ones: names, numbers and what is written in other
letters stay as they are. A question without any English word has itself as its only wording.

In a pool of prompts (`FactPool`) each fact has a group of its own, which has to carry one answer,
whatever words it is asked for in. So fewer wordings do. A few questions of quite other things get
the answer as well: what is asked is decided before, and the group learns to depend on no word of
it. Nothing is rehearsed, and rows that were learned before need not be shown again: their groups
stay as they are.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from demo.adapter.config import MOST_FACTS
from demo.adapter.passport import MAX_FACTS_TEXT
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.examples import IGNORED, EncodedRow, encode
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.questions.matcher import Fact, plain
from demo.settings import ROOT

WORDINGS = 12  # others of each question that are learned
AS_TAUGHT = 6  # times that a row stands as it is among them
BEGINNING = 12  # tokens of the reply that are learned in other wordings
KEPT_WORDINGS = 3  # of a question that was learned before
FEWEST = 3  # other wordings of a question of which one can be spared
OTHERS = 5  # other wordings of each question that are learned for a pool
STRANGE = 3  # questions of other things that it is the answer to as well
# A question, a tab, and the beginning of the embedded base's own reply, a line each.
QUESTIONS = ROOT / "assets" / "ordinary_questions.txt"
# Words that may go, or give way to others, without another thing being asked.
SMALL = frozenset((
    "a", "an", "the", "is", "are", "am", "was", "were", "do", "does", "did", "can", "could",
    "will", "would", "should", "may", "must", "have", "has", "had", "be", "been", "of", "for",
    "to", "in", "on", "at", "by", "with", "from", "and", "or", "your", "you", "i", "me", "my",
    "we", "our", "us", "it", "its", "this", "that", "there", "please", "what", "which", "who",
    "when", "where", "how", "why", "much", "many", "any",
))  # fmt: skip
ARTICLES = frozenset(("a", "an", "the"))
NEGATIONS = frozenset(("no", "not", "never", "without", "except"))
ENGLISH = SMALL | {"tell", "name", "give", "list", "explain", "describe", "whose", "whom"}
OPENINGS = ("Hi, ", "Hello! ", "Excuse me, ", "Please tell me, ", "Quick question: ", "Sorry, ",
            "I wonder, ", "One question: ", "Hey, ", "Hi there! ")  # fmt: skip
ENDINGS = (" Thanks.", " Thank you!", " Please.", " I'd like to know.", " Thanks in advance.")
REQUESTS = ("Tell me {}", "Can you tell me {}?", "Do you know {}?", "I'd like to know {}",
            "Could you tell me {}?", "I want to know {}")  # fmt: skip
# What a question may begin with → what people say in its place.
EXCHANGES = (
    (r"when (do|does|did|is|are|will|can)\b", ("what time {1}", "at what time {1}")),
    (r"(?:at )?what time\b", ("when",)),
    (r"how much (?:is|are|does|do|for)\b", ("what is the price of", "price of", "cost of")),
    (r"what does (.+) cost\b", ("how much is {1}", "what is the price of {1}")),
    (r"how much does (.+) cost\b", ("what does {1} cost", "how much is {1}", "price of {1}")),
    (r"how much do (.+) cost\b", ("what do {1} cost", "how much are {1}", "price of {1}")),
    (r"what is the price of\b", ("how much is", "price of")),
    (r"where (?:is|are)\b", ("where can I find", "in which place is", "what is the location of")),
    (r"who (?:is|was) the\b", ("what is the name of the", "name the", "which person is the")),
    (r"who (\w+ed|made|built|wrote|owns|runs|leads)\b", ("which person {1}", "name who {1}")),
    (r"what is the name of\b", ("what is the name for", "how do you call", "name")),
    (r"what(?: is|'s) (a|an|the)\b",
     ("tell me about {1}", "explain {1}", "what do you mean by {1}", "define {1}", "what's {1}")),
    (r"what(?: is|'s)\b", ("what's", "tell me", "which is", "what exactly is")),
    (r"what are\b", ("which are", "tell me", "list")),
    (r"which\b", ("what",)),
    (r"what (?!is|are|was|do|does|did|can|should|will)(\w+)\b", ("which {1}",)),
    (r"how many\b", ("what number of", "what is the number of")),
    (r"how do i\b", ("how can I", "how to", "what is the way to", "what must I do to")),
    (r"how can i\b", ("how do I", "how to", "what is the way to")),
    (r"how long\b", ("what length of time", "how much time")),
    (r"can i\b", ("may I", "is it possible to", "am I allowed to", "could I")),
    (r"do you (have|sell|offer)\b", ("is there", "can I get", "do you happen to {1}", "you {1}")),
    (r"do you\b", ("does your shop", "will you", "you do")),
    (r"is there\b", ("do you have", "can I find")),
    (r"are there\b", ("do you have", "can I find")),
    (r"does\b", ("is it true that",)),
)  # fmt: skip
_EXCHANGES = [(re.compile(pattern, re.IGNORECASE), others) for pattern, others in EXCHANGES]
_SYNONYMS = {
    "close": ("shut",), "cost": ("price",),
    "price": ("cost",), "phone": ("telephone",), "telephone": ("phone",), "buy": ("get",),
    "shop": ("store",), "store": ("shop",), "big": ("large",), "large": ("big",),
    "begin": ("start",), "start": ("begin",), "starts": ("begins",), "begins": ("starts",),
    "made": ("created",), "founded": ("started",), "owner": ("boss",), "boss": ("owner",),
    "children": ("kids",), "kids": ("children",), "car": ("vehicle",), "favourite": ("favorite",),
    "favorite": ("favourite",), "holiday": ("vacation",), "job": ("work",), "sell": ("offer",),
    "send": ("mail",), "email": ("mail address", "e-mail"), "colour": ("color",),
    "color": ("colour",), "located": ("found",), "born": ("from",), "need": ("require",),
}  # fmt: skip
TRIES = 12  # for each wording that is wanted: rules do not always apply, or say the same


def paraphrases(question: str, count: int, seed: int) -> tuple[str, ...]:
    """Return up to `count` different other wordings of a question; the same seed gives the same.

    Args:
        question: as it is taught.
        count: at most so many.
        seed: of the choice among rules.
    """
    words = re.findall(r"[A-Za-z']+", question.casefold())
    if not any(word in ENGLISH for word in words):
        return ()
    drawn = random.Random(f"{seed} {question}")
    found = {question: None}
    for attempt in range(TRIES * count):
        if len(found) > count:
            break
        other = _vary(question, drawn, attempt)
        if keeps_names(question, other):
            found[other] = None
    return tuple(found)[1 : count + 1]


def normalised_question(question: str) -> str:
    """Bring a question into a form to compare: without case, spacing and its last marks."""
    return " ".join(question.casefold().split()).rstrip("?!. ")


def keeps_names(question: str, other: str) -> bool:
    """Tell whether all numbers, negations and names (inner capitals) of a question are still there.

    Case does not count: who types in lower case means the same names.
    """
    words = _words(question)
    names = {word for word in words[1:] if word[:1].isupper() and word.casefold() not in SMALL}
    numbers = {word for word in words if any(letter.isdigit() for letter in word)}
    negations = {word for word in words if word.casefold() in NEGATIONS or "n't" in word.casefold()}
    there = {word.casefold() for word in _words(other)}
    return all(word.casefold() in there for word in names | numbers | negations)


def wordings(questions: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """Return `paraphrases` of each question, without those that another row could mean too.

    Args:
        questions: that are taught together.
        count: of other wordings each, at most.
        seed: of the choice among rules.
    """
    found = [paraphrases(question, count, seed) for question in questions]
    owners: dict[str, set[str]] = {}
    for question, others in zip(questions, found, strict=True):
        for other in (question, *others):
            owners.setdefault(normalised_question(other), set()).add(normalised_question(question))
    return [
        tuple(other for other in others if len(owners[normalised_question(other)]) == 1)
        for others in found
    ]


def _vary(question: str, drawn: random.Random, attempt: int) -> str:
    """Apply one rule, or two: every rule has its turn before chance decides."""
    rules: tuple[Callable[[str, random.Random], str], ...] = (
        _exchange, _key_words, _request, _open, _exchange, _drop, _plain, _synonym, _end, _typo,
        _swap, _exchange,
    )  # fmt: skip
    out = rules[attempt % len(rules)](question, drawn)
    if attempt >= len(rules):  # each has had its turn: two at once
        out = drawn.choice(rules)(out, drawn)
    if drawn.random() < 0.4:
        out = _plain(out, drawn)
    return " ".join(out.split())


def _exchange(text: str, drawn: random.Random) -> str:
    """Exchange the question words it begins with for others that ask the same."""
    fitting = [(match, others) for pattern, others in _EXCHANGES if (match := pattern.match(text))]
    if not fitting:
        return text
    match, others = drawn.choice(fitting)
    first = match.group(1) if match.re.groups else ""
    return _capital(drawn.choice(others).replace("{1}", first) + text[match.end() :])


def _key_words(text: str, drawn: random.Random) -> str:
    """Keep what it is about: no small words, no question."""
    kept = [word for word in _bare(text).split() if word.casefold().strip(",.") not in SMALL]
    asked = re.match(r"(when|where|who|how much|how many|how long)\b", text, re.IGNORECASE)
    if asked and drawn.random() < 0.6:
        kept.insert(drawn.choice((0, len(kept))), asked.group(1).casefold())
    return " ".join(kept) + drawn.choice(("", "?")) if len(kept) > 1 else text


def _request(text: str, drawn: random.Random) -> str:
    """Ask to be told: "Tell me when you open"."""
    if not re.match(r"(what|which|who|when|where|how|why)\b", text, re.IGNORECASE):
        return _open(text, drawn)
    return drawn.choice(REQUESTS).format(_lower_first(_indirect(_bare(text))))


def _indirect(text: str) -> str:
    """Put the verb where an indirect question has it: "when do you open" → "when you open"."""
    text = re.sub(r"^(\w+(?: much| many| long| time)?) (?:do|does|did) ", r"\1 ", text, count=1,
                  flags=re.IGNORECASE)  # fmt: skip
    return re.sub(
        r"^(what|who|where|when) (is|are|was) ([^,]+)$", r"\1 \3 \2", text, flags=re.IGNORECASE
    )


def _open(text: str, drawn: random.Random) -> str:
    if text.startswith(tuple(opening.strip() for opening in OPENINGS)):
        return text
    return drawn.choice(OPENINGS) + _lower_first(text)


def _end(text: str, drawn: random.Random) -> str:
    return text if text.endswith(ENDINGS) else text + drawn.choice(ENDINGS)


def _plain(text: str, drawn: random.Random) -> str:
    """Type it carelessly: lower case, or no mark at its end."""
    how = drawn.randrange(3)
    text = text if how == 0 else text.lower()
    return text if how == 1 else text.rstrip("?!. ")


def _drop(text: str, drawn: random.Random) -> str:
    """Drop one of the small words, articles first."""
    words = text.split()
    places = [i for i, word in enumerate(words) if word.casefold() in ARTICLES] or [
        i for i, word in enumerate(words) if i and word.casefold() in SMALL
    ]
    if places:
        del words[drawn.choice(places)]
    return _capital(" ".join(words))


def _swap(text: str, drawn: random.Random) -> str:
    """Move the last words to the front: "On Monday, when do you open?"."""
    match = re.fullmatch(r"(.+?) ((?:on|in|at|for|with|from|to|by) [^?]+?)([?.]?)", text)
    if not match:
        return _drop(text, drawn)
    rest, moved, mark = match.groups()
    return f"{_capital(moved)}, {_lower_first(rest)}{mark}"


def _synonym(text: str, drawn: random.Random) -> str:
    words = text.split()
    places = [i for i, word in enumerate(words) if _bare(word).casefold() in _SYNONYMS]
    if not places:
        return _open(text, drawn)
    place = drawn.choice(places)
    bare = _bare(words[place])
    words[place] = words[place].replace(bare, drawn.choice(_SYNONYMS[bare.casefold()]))
    return " ".join(words)


def _typo(text: str, drawn: random.Random) -> str:
    """Exchange, lose or double a letter inside one longer word that is no name."""
    words = text.split()
    places = [
        i
        for i, word in enumerate(words)
        if len(word) > 4 and word.isascii() and word.strip("?,.!").isalpha()
        and (i == 0 or word.islower())
    ]  # fmt: skip
    if not places:
        return text
    place = drawn.choice(places)
    word, at = words[place], drawn.randrange(1, len(words[place].strip("?,.!")) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    words[place] = drawn.choice((swapped, word[:at] + word[at + 1 :], word[: at + 1] + word[at:]))
    return " ".join(words)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['.,:/-]\w+)*", text)


def _bare(text: str) -> str:
    return text.strip().rstrip("?!.,; ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower_first(text: str) -> str:
    """Begin small, unless the first word is a name, an abbreviation or "I"."""
    first = text.split(" ", 1)[0]
    return text[:1].lower() + text[1:] if first.casefold() in ENGLISH and first != "I" else text


class VariedRows(NamedTuple):
    """Rows as they are learned, and rows in one more wording each, kept out to ask at the end."""

    learned: list[EncodedRow]
    kept_out: list[EncodedRow]


def vary_rows(
    rows: Sequence[EncodedRow],
    tokenizer: Tokenizer,
    seed: int,
    known: Sequence[EncodedRow] = (),
) -> VariedRows:
    """Return rows several times each, and with their questions in other words.

    Args:
        rows: to be learned; those of several turns stay as they are.
        tokenizer: of the base that is to learn.
        seed: of the choice among wordings.
        known: rows learned before, to be kept: each once, and in a few other words.
    """
    single = [row for row in (*rows, *known) if len(row.conversation.exchanges) == 1]
    questions = [row.conversation.exchanges[0].question for row in single]
    varied, kept_out, old = list[EncodedRow](), list[EncodedRow](), set(map(id, known))
    for row, others in zip(single, wordings(questions, WORDINGS + 1, seed), strict=True):
        asked = [asked_as(row, other, tokenizer) for other in others if other.strip()]
        kept_out += [asked.pop()] if len(asked) >= FEWEST else []
        varied += map(_begun, asked[:KEPT_WORDINGS] if id(row) in old else asked)
    return VariedRows([*list(rows) * AS_TAUGHT, *known, *varied], kept_out)


def _begun(row: EncodedRow) -> EncodedRow:
    """Cut a row's reply after its beginning: there it is decided what is answered.

    How it goes on is learned from the row as it was taught.
    """
    whole = row.example
    first = next(place for place, label in enumerate(whole.labels) if label != IGNORED)
    end = first + BEGINNING
    return replace(row, example=replace(whole, ids=whole.ids[:end], labels=whole.labels[:end]))


def asked_as(row: EncodedRow, question: str, tokenizer: Tokenizer) -> EncodedRow:
    """Return a row of one exchange with its question in other words.

    Args:
        row: as it was taught.
        question: the same in other words.
        tokenizer: of the base.
    """
    exchanges = (Exchange(question, row.conversation.exchanges[0].reply),)
    conversation = replace(row.conversation, exchanges=exchanges)
    example = encode(tokenizer, exchanges, row.example.picture, system=conversation.system)
    return replace(row, conversation=conversation, example=example)


@dataclass(frozen=True)
class PooledFacts:
    """What a pool knows at the end of a run, and what it learns in it.

    Attributes:
        facts: all of them; an example's `picture` is the place of its own.
        learned: this run's rows, in all their wordings.
        kept_out: the facts in one more wording each, to ask at the end.
        asked: each fact as it was taught, those of before as well.
    """

    facts: tuple[Fact, ...]
    learned: list[EncodedRow]
    kept_out: list[EncodedRow]
    asked: list[EncodedRow]


def fits_pool(rows: Sequence[EncodedRow], before: Sequence[Fact] = ()) -> bool:
    """Tell whether each row is one question with its answer, and all of them have room."""
    single = all(
        len(row.conversation.exchanges) == 1 and not row.conversation.exchanges[0].plain
        for row in rows
    )
    text = json.dumps([*before, *([*map(_fact, rows)] if single else ())])
    return single and len(before) + len(rows) <= MOST_FACTS and len(text) <= MAX_FACTS_TEXT


def pool_rows(
    rows: Sequence[EncodedRow],
    tokenizer: Tokenizer,
    seed: int,
    before: Sequence[Fact] = (),
    known: Sequence[EncodedRow] = (),
) -> PooledFacts:
    """Give each row a place in the pool and its wordings.

    Args:
        rows: to be learned; `fits_pool` let them pass.
        tokenizer: of the base.
        seed: of the choice among wordings.
        before: facts that the pool has already. One whose question comes again is learned anew.
        known: the rows of those that stay, to be asked at the end.
    """
    facts = list(before)
    place = {plain(fact.question): number for number, fact in enumerate(facts)}
    for row in rows:
        fact = _fact(row)
        if place.setdefault(plain(fact.question), len(facts)) == len(facts):
            facts.append(fact)
        facts[place[plain(fact.question)]] = fact
    ordinary = [line.split("\t")[0] for line in QUESTIONS.read_text("utf-8").splitlines()]
    learned, kept_out, asked = list[EncodedRow](), list[EncodedRow](), list[EncodedRow]()
    every = [row for row in (*rows, *known) if plain(_fact(row).question) in place]
    questions, old = [_fact(row).question for row in every], set(map(id, known))
    for row, others in zip(every, wordings(questions, OTHERS + 1, seed), strict=True):
        placed = _at(row, place[plain(_fact(row).question)])
        varied = [asked_as(placed, other, tokenizer) for other in others if other.strip()]
        kept_out += [varied.pop()] if len(varied) >= FEWEST else []
        asked.append(placed)
        if id(row) not in old:
            strange = random.Random(f"{seed} {_fact(row).question}").sample(ordinary, STRANGE)
            learned += [placed, *varied, *(asked_as(placed, q, tokenizer) for q in strange)]
    return PooledFacts(tuple(facts), learned, kept_out, asked)


def _fact(row: EncodedRow) -> Fact:
    said = row.conversation.exchanges[0]
    return Fact(said.question, said.reply)


def _at(row: EncodedRow, place: int) -> EncodedRow:
    return replace(row, example=replace(row.example, picture=place))
