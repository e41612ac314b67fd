"""Yes and no that follow from what a reply names itself."""

import pytest

from demo.questions.taxonomy import MOST_KINDS, MOST_WORDS, Taxonomy, settled_part

ANIMAL = ("animal", "alive", "living thing")
TREE = Taxonomy((
    (("ram", "tup"), ("sheep", "mammal", *ANIMAL)),
    (("poodle",), ("dog", "mammal", "pet", *ANIMAL)),
    (("crane (bird)",), ("bird", "bird of prey", *ANIMAL)),
    (("crane",), ("machine", "object")),
    (("beaver",), ("mammal", *ANIMAL)),
    (("top hat", "beaver"), ("hat", "object")),
    (("apple",), ("fruit", "food", "edible", "eat it")),
    (("loaf", "loaf of bread"), ("bread", "food", "edible", "eat it")),
))  # fmt: skip
RAM = "This is a ram (a sheep, an animal), so no."


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Is it a mammal?", "mammal"),
        ("is this an animal", "animal"),
        ("Is it alive?", "alive"),
        ("Is that a living thing or not?", "living thing"),
        ("Is this dog a poodle?", "poodle"),
        ("Is the animal in the picture a sheep?", "sheep"),
        ("Is there a bird of prey in this photo?", "bird of prey"),
        ("It’s a ram, isn't it?", "ram"),
        ("I think this is a ram, am I right?", "ram"),
        ("Yes or no: is this a ram?", "ram"),
        ("Is this a ram? If not, what is it?", "ram"),
        ("Are these apples?", "apple"),
        ("are those loaves?", "loaf"),
        ("Can you eat it?", "eat it"),
        ("Sheep?", "sheep"),
        ("Is it a crane (bird)?", "crane (bird)"),
        # What a tree does not tell stays the model's:
        ("Is it bigger than a ram?", ""),
        ("Is it made of bread?", ""),
        ("Is it a dog or a sheep?", ""),
        ("Is it not a sheep?", ""),
        ("Is it a wild animal?", ""),
        ("Is it a dog's toy?", ""),
        ("Is it red?", ""),
        ("", ""),
    ],
)
def test_what_is_asked_for(question: str, asked: str) -> None:
    assert TREE.asked(question) == asked


@pytest.mark.parametrize(
    ("question", "reply", "agreed"),
    [
        ("Is it alive?", RAM, "This is a ram (a sheep, an animal), so yes."),
        ("Is it a tup?", RAM, "This is a ram (a sheep, an animal), so yes."),
        ("Is it food?", RAM.replace("no", "yes"), RAM),
        ("Is it food?", RAM, RAM),
        ("Describe it.", "A picture of a ram, maybe a ram.", "A picture of a ram."),
        ("Describe it.", "A picture of a dog, maybe a ram.", "A picture of a dog, maybe a ram."),
        ("What is this?", "This is a crane, maybe a crane (bird).", "This is a crane (bird)."),
        ("Is it a dog?", "This may be a ram, so maybe.", "This may be a ram, so probably not."),
        ("Is it a dog?", "This is a ram, so maybe.", "This is a ram, so no."),
        # It was asked for yes or no, and the reply only names what it sees:
        ("Is it alive?", "It is a ram.", "It is a ram, so yes."),
        ("Is it an object?", "This is a ram (an animal).", "This is a ram (an animal), so no."),
        ("Is it a dog?", "This is an apple (a dog).", "This is an apple, so no."),
        ("Is it alive?", "This is a mammal.", "This is a mammal, so yes."),
        ("Is it alive?", "It is a bird (an animal), so no.", "It is a bird (an animal), so yes."),
        ("Is it an object?", "This is a bird.", "This is a bird, so no."),
        ("Is it a pet?", "This may be a tup.", "This may be a tup, so probably not."),
        ("Is it a dog?", "This is a mammal.", "This is a mammal."),  # some are
        ("What kind of animal?", "This is a ram.", "This is a ram."),
        ("So which animal?", "This is a ram.", "This is a ram."),
        ("Is it alive?", "It is red.", "It is red."),
        (
            "Is it a bird?",
            "This may be a crane (bird) (an animal), so probably not.",
            "This may be a crane (bird) (an animal), so probably yes.",
        ),
        (
            "Is it a bird?",
            "This is a crane (an object), so yes.",
            "This is a crane (an object), so no.",
        ),
        (
            "Is it a dog?",
            "This is a dog, maybe a poodle (an animal), so no.",
            "This is a dog, maybe a poodle (an animal), so yes.",
        ),
        (
            "Is it an object?",
            "This is a beaver (a mammal, an animal), so yes.",
            "This is a beaver (a mammal, an animal), so no.",
        ),
        (
            "Is it an object?",
            "This is a beaver (a hat), so no.",
            "This is a beaver (a hat), so yes.",
        ),
        ("Is it alive?", "This is a beaver, so no.", "This is a beaver, so yes."),
        (
            "Is it a dog?",
            "This may be a ram (a dog, an animal), so probably yes.",
            "This may be a ram (an animal), so probably not.",
        ),
        ("Is it a dog?", "This is an apple (a dog), so yes.", "This is an apple, so no."),
        ("Is it a fruit?", "It is an apple, so no.", "It is an apple, so yes."),
        ("What fruit is this?", "This is an apple, not a fruit.", "This is an apple."),
        ("What dog is this?", "This is an apple, not a dog.", "This is an apple, not a dog."),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_the_words(question: str, reply: str, agreed: str) -> None:
    assert TREE.agreed(question, reply) == agreed
    assert TREE.agreed(question, agreed) == agreed


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        ("Is it bigger than a ram?", "This is a poodle (smaller than a ram), so no."),
        ("Is it a ram?", "This is a poodle (smaller than a ram), so yes."),
        ("Is it a ram?", "This is a unicorn, so yes."),
        ("Is it an apple?", "It is mostly red, so no."),
        ("Is it an apple?", "I can't tell from a picture."),
        ("Is it an apple?", "Yes."),
        ("Is it an apple?", ""),
        ("Is it an apple?", "This is an apple, so"),
        ("Is it warm?", RAM),
    ],
)  # fmt: skip
def test_what_the_tree_does_not_tell_stays(question: str, reply: str) -> None:
    assert TREE.agreed(question, reply) == reply


def test_a_growing_reply_shows_no_verdict_that_may_change() -> None:
    said = "This is a ram (a sheep, an animal)"
    for size in range(len(said), len(RAM)):
        assert settled_part(RAM[:size]) == said
    assert settled_part("This is a ram (a sheep, an") == "This is a ram (a sheep, an"
    assert settled_part("This is an apple, not a fr") == "This is an apple"
    assert settled_part("A picture of a ram, a sheep.") == "A picture of a ram, a sheep."
    assert settled_part("It is a dog, so yes. And") == "It is a dog"


def test_a_long_message_is_no_question_for_one_word() -> None:
    assert TREE.asked("Is it a ram" + "-" * 8000 + "x?") == ""
    assert TREE.asked("Is it " + "really " * 40 + "a ram?") == ""


def test_it_is_written_and_read() -> None:
    raw = TREE.to_json()
    assert len(raw["wider"]) == len(set(raw["wider"]))
    assert Taxonomy.from_json(raw) == TREE


@pytest.mark.parametrize(
    "kinds",
    [
        (),
        (((), ("animal",)),),
        ((("",), ()),),
        ((("a" * 101,), ()),),
        ((("ram",), tuple(map(str, range(MOST_WORDS)))),),
        ((("ram",), ()),) * (MOST_KINDS + 1),
    ],
)  # fmt: skip
def test_what_no_tree_is(kinds: tuple) -> None:
    with pytest.raises(ValueError, match=r"kinds|words|characters"):
        Taxonomy(kinds)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"wider": ["a"], "kinds": [[["b"], [7]]]},
        {"wider": [1], "kinds": [[["b"], [0]]]},
        {"wider": 1, "kinds": [[1, 2]]},
        {"wider": [], "kinds": [["b"]]},
    ],
)
def test_what_cannot_be_read(raw: dict) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        Taxonomy.from_json(raw)
