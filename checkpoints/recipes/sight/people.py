"""Questions as people ask them about one thing in a picture, and their replies.

Forms are those that are commonest among the questions people asked of photographs in VQA (Antol et
al. 2015). Nouns, and what is true of a thing, are WordNet's tree: an apple is a fruit is food. So
yes and no follow from the names, and a reply says first what is seen, then the verdict. Everything
follows from what is known of a picture and a `random.Random`.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from checkpoints.recipes.data.wordnet import articled
from checkpoints.recipes.sight.forms import asked_freely
from checkpoints.recipes.sight.questions import (
    ASKED,
    ASKED_ELSEWHERE,
    ASKED_IN_VAIN,
    BRIEF,
    COLOUR,
    IN_VAIN_ELSEWHERE,
    KIND,
    LEADS,
    NAME,
    REFUSALS,
    YES_NO,
    Known,
    scene_lesson,
)
from demo.finetune.data.conversation import Exchange
from demo.questions.taxonomy import bare
from demo.vision.clip import BASIC_COLOURS

NOUN_ASKED = (
    "What {} is this?",
    "What {} is this?",
    "What {} is it?",
    "What {} is that?",
    "What kind of {} is this?",
    "What kind of {} is it?",
    "What type of {} is this?",
    "What sort of {} is that?",
    "Which {} is this?",
    "What {} is in the picture?",
    "What {} is shown?",
    "What {} do you see?",
    "What {} can you see in the photo?",
    "What kind of {} is in the picture?",
    "What type of {} is shown here?",
    "Which {} does the picture show?",
    "Name the {}.",
    "What is the name of this {}?",
    "What {} is the animal in the picture?",
    "Can you tell me what {} this is?",
    "Do you know what kind of {} that is?",
    "Tell me which {} it is.",
    "Identify the {}.",
    "what is this {} called?",
)
NOUN_ASKED_ELSEWHERE = (
    "Which {} am I looking at?",
    "So what {} would that be?",
    "What variety of {} is shown in this image?",
    "Please name this {}.",
    "Any idea what {} this is?",
)
CAPTIONS = (
    "Describe this picture.",
    "Describe the picture.",
    "Describe the image.",
    "Describe what you see.",
    "Write a caption.",
    "Write a caption for this picture.",
    "Caption this.",
    "Give me a caption.",
    "Give this photo a title.",
    "What is going on in this picture?",
    "Tell me about this picture.",
    "What does this image show?",
    "Please describe the photo in a sentence.",
)
ALIVE = ("Is it alive?", "Is this a living thing?", "Is it an animal?", "Is that something living?")
EATEN = ("Can you eat it?", "Is it edible?", "Can I eat this?", "Is this something to eat?")
EITHER = (
    "Is it {} or {}?",
    "Is this {} or {}?",
    "Is that {} or {}?",
    "Which is it, {} or {}?",
    "Do you see {} or {}?",
)
COLOUR_IS = (
    "Is it {}?",
    "Is this {}?",
    "Is the {1} {0}?",
    "Would you call it {}?",
    "Is it {} in color?",
)
COLOUR_OR = ("Is it {} or {}?", "Is this more {} or {}?", "{} or {}?")
COLOUR_OF = (
    "What color is the {}?",
    "What colour is the {}?",
    "What is the color of the {}?",
    "What color is this {}?",
    "Which colour does the {} have?",
)
TYPOS = 0.12  # of questions have a letter too few, or two of them swapped
BARE_ASKED = 0.35  # come in lower case, without a question mark, or both
WRONG_NOUN = 0.15  # of nouns asked for are of something else
FREELY = 0.6  # of questions what it is are put together from parts
SHORT = 0.2
LED = 0.12  # of questions come after a sentence about something else
STRANGERS = 20  # tried until a word is untrue
UNASKED = ("a thing", "a place")
NEAR = 0.5  # of what is asked for in vain resembles what is seen


@dataclass(frozen=True)
class Tree:
    """All kinds there are, and which words are true of which.

    Attributes:
        kinds: in the order of the memory's entries.
        near: for each kind those it is taken for, by number.
    """

    kinds: tuple[Known, ...]
    near: Sequence[Sequence[int]]

    @cached_property
    def nouns(self) -> tuple[str, ...]:
        """Return the words for kinds of things that people ask for, as often as there are such."""
        return tuple(word for kind in self.kinds for word in self.asked(kind))

    def asked(self, kind: Known) -> tuple[str, ...]:
        """Return the wider words by which somebody may ask for a thing: its group and its top."""
        words = (bare(kind.group), bare(kind.top))
        return tuple(dict.fromkeys(w for w in words if w not in ("thing", "place", "shape")))

    def stranger(self, known: Known, number: int, chance: random.Random) -> Known:
        """Return a kind that is something else: half of the time one it may be taken for."""
        while True:
            near = self.near[number]
            rival = chance.choice(near) if near and chance.random() < NEAR else None
            other = self.kinds[chance.randrange(len(self.kinds)) if rival is None else rival]
            if bare(other.name) not in true_words(known) and not (
                true_words(known) & {bare(name).lower() for name in other.exact}
            ):
                return other
            if rival is not None:
                number = chance.randrange(len(self.kinds))


def true_words(known: Known) -> frozenset[str]:
    """Return every word, without article and in lower case, that is true of a thing."""
    words = (*known.exact, known.group, known.top, *known.also)
    return frozenset(bare(word).lower() for word in words)


def is_true(known: Known, phrase: str) -> bool:
    """Say whether a noun, with or without article, is true of a thing."""
    return bare(phrase).lower() in true_words(known)


def called(known: Known) -> str:
    """Return how a thing is called, as surely as it is seen: "a dog, maybe a keeshond"."""
    if known.sure == "unsure":
        return f"This may be {known.name}"
    if known.sure == "coarse" and not _repeats(known.name, known.group):
        return f"This is {known.group}, maybe {known.name}"
    return f"This is {known.name}"


def _repeats(said: str, word: str) -> bool:
    wanted = bare(word).lower()
    said_so = re.search(rf"(?<![\w-]){re.escape(wanted)}(?![\w-])", said.lower())
    return said_so is not None or wanted in ("thing", "place")


def wider(known: Known, said: str, asked: str = "") -> str:
    """Return what is said with the thing's group and top word: "a cat (an animal)".

    All that is compared with the question is so said first, whatever was asked, and the verdict
    only has to find the asked word among it. A wider word still, "a mammal", comes last.
    """
    words: list[str] = []
    for word in (known.group, known.top, asked):
        if word and is_true(known, word) and not _repeats(" ".join((said, *words)), word):
            words.append(word)
    return f"{said} ({', '.join(words)})" if words else said


def name_question(known: Known, chance: random.Random, *, exam: bool = False) -> Exchange:
    """Ask what it is."""
    asked = (ASKED_ELSEWHERE if exam else ASKED)[NAME]
    question = chance.choice(asked)
    if not exam and chance.random() < FREELY:
        return Exchange(asked_freely(chance), f"{called(known)}.")
    if not exam and chance.random() < SHORT:
        brief = chance.choice(ASKED[BRIEF]).format(question)
        return Exchange(brief, _short(known))
    return Exchange(question, f"{called(known)}.")


def _short(known: Known) -> str:
    said = called(known)
    if known.sure == "unsure":
        return f"maybe {known.name}"
    return said.removeprefix("This is ")


def noun_question(
    known: Known, tree: Tree, number: int, chance: random.Random, *, exam: bool = False
) -> Exchange:
    """Ask for it by what it is, "What fruit is this?", now and then by what it is not."""
    wordings = NOUN_ASKED_ELSEWHERE if exam else NOUN_ASKED
    own = tree.asked(known)
    if not own or (not exam and chance.random() < WRONG_NOUN):
        word = chance.choice(tree.nouns)
        if not is_true(known, word):
            question = chance.choice(wordings).format(word)
            return Exchange(question, f"{called(known)}, not {articled(word)}.")
        own = (word,)
    return Exchange(chance.choice(wordings).format(chance.choice(own)), f"{called(known)}.")


def kind_question(known: Known, chance: random.Random, *, exam: bool = False) -> Exchange:
    """Ask what kind of thing it is."""
    question = chance.choice((ASKED_ELSEWHERE if exam else ASKED)[KIND])
    start = "It may be" if known.sure == "unsure" else "It is"
    return Exchange(question, f"{start} {known.group}.")


def yes_no_question(
    known: Known, tree: Tree, number: int, chance: random.Random, *, exam: bool = False
) -> Exchange:
    """Ask whether it is this; the reply says what it is, what that is, and then the verdict."""
    draw = chance.random()
    if not exam and draw < 0.08:
        return _property(known, ALIVE, known.top in ("an animal", "a plant", "a person"), chance)
    if not exam and draw < 0.14:
        return _property(known, EATEN, known.top == "food", chance)
    if chance.random() < 0.5:
        phrase = _phrase(known, chance, far=not exam)
        if phrase in UNASKED:
            phrase = known.name
    else:
        phrase = _untrue(known, tree, number, chance, far=not exam)
    question = chance.choice((ASKED_ELSEWHERE if exam else ASKED)[YES_NO]).format(phrase)
    return Exchange(question, verdict_reply(known, phrase))


def _untrue(known: Known, tree: Tree, number: int, chance: random.Random, *, far: bool) -> str:
    """Return a word of something else, of a group as often as one that is true would be.

    Most that resemble a thing are of its group, so others are tried until the word is untrue.
    """
    aspect = _aspect(chance, far=far)
    for _ in range(STRANGERS):
        about = tree.stranger(known, number, chance)
        phrase = _word(about, aspect, chance)
        if phrase not in UNASKED and not is_true(known, phrase):
            return phrase
    return about.name


def _phrase(about: Known, chance: random.Random, *, far: bool) -> str:
    """Return a word that is true of a thing: a name, its group, its top, or any that is wider."""
    return _word(about, _aspect(chance, far=far), chance)


def _aspect(chance: random.Random, *, far: bool) -> str:
    return chance.choices(("name", "group", "top", "also"), (0.4, 0.3, 0.15, 0.15 * far))[0]


def _word(about: Known, aspect: str, chance: random.Random) -> str:
    if aspect == "also" and about.also:
        return articled(chance.choice(about.also[:6]))
    return {"group": about.group, "top": about.top}.get(aspect) or chance.choice(about.exact)


def either_question(known: Known, tree: Tree, number: int, chance: random.Random) -> Exchange:
    """Ask which of two it is; now and then it is neither."""
    one, other = (
        _phrase(k, chance, far=False) for k in (known, tree.stranger(known, number, chance))
    )
    if chance.random() < 0.2:
        one = tree.stranger(known, number, chance).name
    pair = [one, other] if chance.random() < 0.5 else [other, one]
    true = [phrase for phrase in pair if is_true(known, phrase)]
    said = called(known)
    if not true:
        said = f"{said}, neither"
    elif len(true) == 1 and not _repeats(said, true[0]):
        said = f"{said} ({true[0]})"
    return Exchange(chance.choice(EITHER).format(*pair), f"{said}.")


def colour_question(colour: str, sure: bool, chance: random.Random, noun: str) -> Exchange:
    """Ask for the colour, which is known of all pictures."""
    said = f"It is mostly {colour}" if sure else f"It may be mostly {colour}"
    draw = chance.random()
    if draw < 0.25:
        asked = colour if chance.random() < 0.5 else chance.choice(BASIC_COLOURS)
        words = ("no", "yes") if sure else ("probably not", "probably yes")
        question = chance.choice(COLOUR_IS).format(asked, noun)
        return Exchange(question, f"{said}, so {words[asked == colour]}.")
    if draw < 0.33:
        pair = [colour, chance.choice([c for c in BASIC_COLOURS if c != colour])]
        chance.shuffle(pair)
        return Exchange(chance.choice(COLOUR_OR).format(*pair), f"{said}.")
    if draw < 0.6:
        return Exchange(chance.choice(COLOUR_OF).format(noun), f"{said}.")
    return Exchange(chance.choice(ASKED[COLOUR]), f"{said}.")


def verdict_reply(known: Known, phrase: str) -> str:
    """Return what is seen, what it is more and more coarsely, and the verdict."""
    true, said = is_true(known, phrase), wider(known, called(known), phrase)
    words = ("probably not", "probably yes") if known.sure == "unsure" else ("no", "yes")
    return f"{said}, so {words[true]}."


def _property(known: Known, asked: Sequence[str], true: bool, chance: random.Random) -> Exchange:
    said = wider(known, called(known))
    words = ("probably not", "probably yes") if known.sure == "unsure" else ("no", "yes")
    return Exchange(chance.choice(asked), f"{said}, so {words[true]}.")


def caption_question(known: Known, chance: random.Random) -> Exchange:
    """Ask for a caption; one true sentence with the thing and its kind."""
    said = known.name
    if known.sure == "unsure":
        said = f"what may be {said}"
    if known.sure != "fine" and not _repeats(known.name, known.group):
        said = f"{known.group}, maybe {known.name}"
    elif not _repeats(known.name, known.group):
        said = f"{said}, {known.group}"
    return Exchange(chance.choice(CAPTIONS), f"A picture of {said}.")


def refusal_question(known: Known, chance: random.Random, *, exam: bool = False) -> Exchange:
    """Ask what nobody can tell from the names of things; the reply says so."""
    topics = [t for t in REFUSALS if known.medium != "scene" or t != "shape"]
    topic = chance.choice(topics)
    asked = (IN_VAIN_ELSEWHERE if exam else ASKED_IN_VAIN)[topic]
    return Exchange(chance.choice(asked), REFUSALS[topic])


ASKED_OF_TREE: dict[str, Callable[[Known, Tree, int, random.Random], Exchange]] = {
    "noun": noun_question,
    "yes_no": yes_no_question,
    "either": either_question,
}


def question(sort: str, known: Known, tree: Tree, number: int, chance: random.Random) -> Exchange:
    """Ask a question of a sort, as people type it."""
    if sort == "scene":
        lesson = scene_lesson(known, chance)
    elif sort in ASKED_OF_TREE:
        lesson = ASKED_OF_TREE[sort](known, tree, number, chance)
    else:
        plain = {"name": name_question, "kind": kind_question, "caption": caption_question}
        plain["refusal"] = refusal_question
        lesson = plain[sort](known, chance)
    asked = as_people_type(lesson.question, chance)
    if chance.random() < LED:
        asked = f"{chance.choice(LEADS)} {asked}"
    return replace(lesson, question=asked)


def as_people_type(text: str, chance: random.Random) -> str:
    """Return a question in lower case, without its mark, or misspelt, now and then."""
    if chance.random() < TYPOS:
        at = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha()]
        if at:
            i = chance.choice(at)
            less, swapped = text[i + 1 :], text[i + 1] + text[i] + text[i + 2 :]
            text = text[:i] + (less if chance.random() < 0.5 else swapped)
    if chance.random() < BARE_ASKED:
        text = text.rstrip("?.")
    if chance.random() < BARE_ASKED:
        text = text.lower()
    return text.replace("What is", "What's", 1) if chance.random() < 0.08 else text
