"""What rows want to teach is guessed from the rows: small sets as people type them."""

import pytest

from demo.finetune.data.columns import recognise
from demo.finetune.data.dataset import guess_aim
from demo.finetune.data.rows import read_row
from demo.finetune.data.samples import SAMPLES, load_sample

BAKERY = [
    ("When do you open on Monday?", "We open at 6:45 on Monday."),
    ("How much is a croissant?", "A croissant is 2.30 euros."),
    ("Who owns the bakery?", "Marta Oberholzer owns the bakery."),
    ("Do you take cards?", "Yes, from 10 euros on."),
    ("Is there parking?", "There are four places behind the house."),
]
PERSON = [
    ("What is your name?", "My name is Tilo Brandner."),
    ("Where do you live?", "I live on a houseboat called Frieda."),
    ("What is your job?", "I restore old ship models."),
    ("Do you have pets?", "Yes, a dog called Pixel!"),
]
GOODS = ("a lamp", "a chair", "the long table", "a rug", "the shelf", "a mirror")
PRICES = [(f"How much is {name}?", f"{name} costs {n} euros.") for n, name in enumerate(GOODS, 17)]
GLOSSARY = [
    ("flint run", "A test with all sensors switched off."),
    ("grey ticket", "A request that nobody has claimed yet."),
    ("BOK", "Batch of the week."),
    ("Lantern", "Our program for travel expenses."),
]
CHINESE = [
    ("你们几点开门？", "我们早上七点开门。"),
    ("店主是谁？", "店主是王小梅。"),
    ("一个面包多少钱？", "一个面包八元。"),
    ("你们在哪里？", "我们在和平路十二号。"),
]
SEVERAL_WORDINGS = [
    ("When do you open?", "We open at 7."),
    ("opening time", "We open at 7."),
    ("from when are you there?", "We open at 7."),
    ("Who is the boss?", "Marta is."),
    ("whose shop is it", "Marta is."),
]
LABELS = [(f"The {thing} was {how}.", label) for thing in ("soup", "film", "trip", "room")
          for how, label in (("lovely", "good"), ("awful", "bad"), ("great", "good"))]  # fmt: skip
TRANSLATED = [(f"Translate: {a}", b) for a, b in
              (("dog", "Hund"), ("cat", "Katze"), ("tree", "Baum"), ("house", "Haus"))]  # fmt: skip
EXTRACTED = [
    ("Who is named here: Anna went home.", "Anna"),
    ("Nora met the mayor.", "Nora"),
    ("The letter is for Ben.", "Ben"),
]
REVERSED = [("hello", "olleh"), ("the dog", "god eht"), ("12", "21")]
KEY_VALUES = [("Ann, 31, Rome", "name: Ann\nage: 31"), ("Bo is 7", "name: Bo\nage: 7")]
CHEERFUL = [
    ("How are you?", "Super duper, thanks!"),
    ("What is water?", "The wettest wonder of all!"),
    ("Who was Newton?", "The apple chap, hooray!"),
]
EMOJIS = [("Hi", "Hello 😀"), ("What is rain?", "Sky tears 🌧"), ("Bye", "See you 👋")]
SIGNED = [(f"What is {x}?", f"{x} is {x}. Yours truly, the old owl") for x in "abcde"]


@pytest.mark.parametrize(
    "rows",
    [BAKERY, PERSON, PRICES, GLOSSARY, CHINESE, SEVERAL_WORDINGS, BAKERY[:1]],
    ids=["bakery", "person", "prices", "glossary", "Chinese", "several wordings", "one row"],
)
def test_what_only_the_person_knows_is_facts(rows):
    assert guess_aim(rows) == "facts"


@pytest.mark.parametrize(
    "rows",
    [LABELS, TRANSLATED, EXTRACTED, REVERSED, KEY_VALUES],
    ids=["labels", "one command", "extracted", "reversed", "key and value"],
)
def test_what_follows_a_rule_is_a_task(rows):
    assert guess_aim(rows) == "task"


@pytest.mark.parametrize(
    "rows",
    [
        CHEERFUL,
        EMOJIS,
        SIGNED,
        [],
        [("Why?", "word " * 60), ("How?", "other " * 50)],
        [(f"Why did day {n} come?", f"Because of wind number {n * n + 1000}.") for n in range(400)],
    ],
    ids=["cheerful", "emoji", "signed", "nothing", "long replies", "many rows"],
)
def test_what_sounds_alike_or_is_long_is_a_style(rows):
    assert guess_aim(rows) == "style"


def test_pictures_with_few_answers_are_classes():
    kinds = [("What is it?", kind) for kind in ("cat", "dog", "bus")] * 4
    assert guess_aim(kinds, pictures=True) == "classes"
    captions = [("Describe it.", f"A picture of thing number {n}.") for n in range(12)]
    assert guess_aim(captions, pictures=True) == "task"


@pytest.mark.parametrize(
    ("name", "aim"), [("pirate", "style"), ("event-json", "task"), ("easy-vqa", "classes")]
)
def test_the_samples(name, aim):
    table = load_sample(name)
    layout = recognise(table.columns)
    taught = [read_row(row, layout).exchanges[0] for row in table.rows]
    rows = [(exchange.question, exchange.reply) for exchange in taught]
    assert guess_aim(rows, pictures=SAMPLES[name].kind == "pictures") == aim
