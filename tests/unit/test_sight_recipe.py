"""What `sight` is taught and how it is judged: true, balanced, reproducible, and a tiny run."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import load_adapter, save_adapter
from demo.adapter.spec import VisualSpec
from demo.adapter.visual import KeyValueMemory
from demo.bench.sight import ASIDES, chosen, named_rows
from demo.bench.sight_judge import (
    holds,
    names_it,
    plain_reply,
    same_answer,
    same_broadly,
    same_phrase,
)
from demo.bench.sight_reader import Hall, judged
from demo.finetune.easy_vqa import Question
from demo.finetune.examples import IGNORED
from demo.finetune.lessons import Lesson
from demo.llama.base import open_base
from demo.llama.cache import Base
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from demo.recipes import sight, sight_lessons, sight_pictures, sight_start, sight_words
from demo.recipes.sight_eyes import Eyes
from demo.recipes.sight_fit import fit
from demo.recipes.sight_kinds import known_kinds
from demo.recipes.sight_lessons import (
    Known,
    Others,
    kind_lesson,
    may_be,
    name_lesson,
    refusal_lesson,
    scene_lesson,
    second_guess,
    shortened,
    yes_no_lesson,
)
from demo.recipes.sight_memory import remember
from demo.recipes.sight_mix import Material, Mix, drawn_examples
from demo.recipes.sight_pictures import Seen, known_rows
from demo.recipes.sight_talk import TALK, rehearsed, unrelated_questions
from demo.recipes.sight_told import (
    NEXT,
    OPEN,
    RIVAL,
    SHARP,
    Told,
    open_up,
    places_of,
    rivals,
    targets,
    told,
    written_states,
)
from demo.recipes.vocabulary import Vocabulary, drawing_kinds, photograph_kinds, shape_kinds

VOCABULARY = Vocabulary([*shape_kinds(), *photograph_kinds(), *drawing_kinds()])
KINDS = known_kinds(VOCABULARY)
OTHERS = Others(KINDS)
GOLDFISH = Known(("a goldfish",), "a fish", "an animal", medium="photo")
FISH = Known(("a fish",), "a fish", "an animal", medium="drawing")
BUS = Known(("a bus",), "a vehicle", "a thing", medium="drawing")
SCHOOL_BUS = Known(("a school bus",), "a vehicle", "a thing", medium="photo")
SCENE = KINDS[VOCABULARY.number("a teal triangle")]


def lessons(make: Callable[..., Lesson], known: Known, count: int, **more: object) -> list[Lesson]:
    chance = random.Random(0)
    return [make(known, chance, **more) for _ in range(count)]


def asked_about(question: str) -> str:
    """What stands for "{}" in one of the wordings."""
    wordings = [*sight_words.ASKED.items(), *sight_words.ASKED_ELSEWHERE.items()]
    texts = [text for sort, some in wordings if sort.startswith("yes-no") for text in some]
    texts += [
        brief.format(text) for brief in sight_words.ASKED[sight_words.BRIEF] for text in texts
    ]
    patterns = [re.escape(text).replace(r"\{\}", "([^?]+)") for text in texts]
    found = [match[1] for p in patterns if (match := re.fullmatch(p, question))]
    return min(found, key=len)


def test_every_kind_has_a_group_and_a_top():
    assert len(KINDS) == len(VOCABULARY.kinds)
    assert (
        Known(
            ("a teal triangle",),
            "a triangle",
            "a shape",
            ("a teal shape",),
            "scene",
            "teal",
            "triangle",
        )
        == SCENE
    )
    goldfish = KINDS[VOCABULARY.number("a goldfish")]
    assert (goldfish.group, goldfish.top) == ("a fish", "an animal")


def test_questions_are_put_as_people_type_them():
    chance, question = random.Random(0), "Is this a Chihuahua?"
    typed = [sight_lessons.as_typed(question, chance) for _ in range(400)]
    assert 150 < typed.count(question) < 300
    for text in set(typed):
        assert "is this a chihuahua" in text.lower()
    for some in ("is this a chihuahua", "Is this a Chihuahua", "Hi! Is this a Chihuahua?"):
        assert some in typed


@pytest.mark.parametrize("exam", [False, True])
def test_yes_is_as_likely_as_no_and_both_are_true(exam):
    chance = random.Random(1)
    answers: Counter[str] = Counter()
    near = denied = 0
    groups = {kind.name: kind.group for kind in KINDS}
    for _ in range(3_000):
        known = chance.choice(KINDS)
        lesson = yes_no_lesson(known, chance, OTHERS, exam=exam)
        phrase = asked_about(lesson.question)
        answer = lesson.reply.split(", so ")[1]
        answers[answer] += 1
        assert (answer == "yes.") == (phrase in known.true), (known, lesson)
        if answer == "no." and phrase in groups:
            denied += 1
            near += groups[phrase] == known.group
    assert set(answers) == {"yes.", "no."}
    assert 0.9 < answers["yes."] / answers["no."] < 1.1
    assert denied > 500 and near > 0.4 * denied  # wrong names of the same group are not rare


def test_a_wrong_name_is_wrong_by_every_word_there_is():
    assert may_be(FISH, GOLDFISH) and may_be(GOLDFISH, FISH)  # a drawn fish may be a goldfish
    assert may_be(BUS, SCHOOL_BUS) and may_be(SCHOOL_BUS, BUS)
    assert not may_be(GOLDFISH, SCHOOL_BUS)
    chance = random.Random(2)
    by_name = {name: kind for kind in KINDS for name in kind.exact}
    for known in chance.sample(KINDS, 200):
        wrong = by_name[OTHERS.name(known, chance)]
        assert not set(wrong.exact) & known.true and not set(known.exact) & wrong.true
        assert OTHERS.group(known, chance) not in known.true
        assert OTHERS.top(known, chance) not in known.true


def test_a_reply_is_a_sentence_unless_a_word_is_asked_for():
    said = {lesson.reply for lesson in lessons(name_lesson, GOLDFISH, 200)}
    assert said == {"This is a goldfish.", "a goldfish"}
    brief = [text.format("") for text in sight_words.ASKED[sight_words.BRIEF]]
    for lesson in lessons(name_lesson, GOLDFISH, 200):
        short = any(mark.strip() in lesson.question for mark in brief)
        assert (lesson.reply == "a goldfish") is short
    said = {lesson.reply for lesson in lessons(kind_lesson, GOLDFISH, 200)}
    assert said == {"It is a fish.", "a fish", "It is an animal.", "an animal"}
    assert {le.reply for le in lessons(kind_lesson, GOLDFISH, 50, choices=0.0)} == {
        "It is a fish.",
        "a fish",
    }


def test_what_is_not_sure_is_said_more_coarsely():
    coarse, unsure = replace(GOLDFISH, sure="coarse"), replace(GOLDFISH, sure="unsure")
    said = {lesson.reply for lesson in lessons(name_lesson, coarse, 100)}
    assert said == {"This is a fish, maybe a goldfish.", "a fish, maybe a goldfish"}
    said = {lesson.reply for lesson in lessons(name_lesson, unsure, 100)}
    assert said == {"This may be a goldfish.", "maybe a goldfish"}
    assert {lesson.reply for lesson in lessons(name_lesson, replace(FISH, sure="coarse"), 50)} == {
        "This is a fish.",
        "a fish",
    }


@pytest.mark.parametrize(
    ("sure", "start", "verdicts"),
    [
        ("fine", "This is a goldfish", ("yes", "no")),
        ("coarse", "This is a fish, maybe a goldfish", ("yes", "no")),
        ("unsure", "This may be a goldfish", ("probably yes", "probably not")),
    ],
)
def test_a_verdict_follows_from_what_it_is(sure, start, verdicts):
    said = lessons(yes_no_lesson, replace(GOLDFISH, sure=sure), 200, others=OTHERS)
    kinds = {"", " (an animal)"} if sure == "coarse" else {"", " (a fish)", " (an animal)"}
    every = {f"{start}{kind}, so {verdict}." for kind in kinds for verdict in verdicts}
    assert {lesson.reply for lesson in said} == every
    assert {asked_about(lesson.question) for lesson in said} > GOLDFISH.true


def test_a_verdict_is_given_in_a_sentence_even_where_a_word_is_asked_for():
    said = lessons(yes_no_lesson, GOLDFISH, 400, others=OTHERS)
    brief = [text.format("") for text in sight_words.ASKED[sight_words.BRIEF]]
    short = [e for e in said if any(mark.strip() in e.question for mark in brief)]
    assert 20 < len(short) < 60 and all(", so " in lesson.reply for lesson in short)
    for lesson in lessons(yes_no_lesson, GOLDFISH, 100, others=OTHERS, exam=True):
        assert not any(mark.strip() in lesson.question for mark in brief)


def test_what_is_asked_for_by_its_kind_is_called_by_its_kind():
    groups = {kind.group for kind in KINDS}
    for lesson in lessons(yes_no_lesson, SCHOOL_BUS, 300, others=OTHERS):
        phrase = asked_about(lesson.question)
        by_kind = phrase in groups or phrase in sight_lessons.TOPS
        assert ("(a vehicle)" in lesson.reply) is by_kind, lesson
    for lesson in lessons(yes_no_lesson, SCENE, 200, others=OTHERS):
        assert "(a triangle)" not in lesson.reply  # "a teal triangle" has said it
    assert OTHERS.word_for(GOLDFISH, "a plant") == "an animal"
    assert OTHERS.word_for(GOLDFISH, "a bird") == OTHERS.word_for(FISH, "a fish") == "a fish"
    assert OTHERS.word_for(BUS, "an animal") == "a vehicle"  # nobody says "a thing"
    assert OTHERS.word_for(GOLDFISH, "a school bus") is None


def test_a_second_guess_is_said_where_it_is_not_known_surely():
    carp = Known(("a carp",), "a fish", "an animal", medium="photo")
    bus = replace(BUS, medium="photo")
    for sure, start, verdicts in (
        ("coarse", "This is a fish, maybe a goldfish or", ("no", "yes")),
        ("unsure", "This may be a goldfish or", ("probably not", "probably yes")),
    ):
        known = replace(GOLDFISH, sure=sure, second=bus)
        said = lessons(yes_no_lesson, known, 400, others=OTHERS)
        for lesson in said:
            asked = asked_about(lesson.question)
            plain = re.sub(r" \([^)]*\)", "", lesson.reply)
            assert plain.startswith(f"{start} a bus, so ")
            by_kind = OTHERS.word_for(bus, asked) is not None
            assert ("a bus (a vehicle), so " in lesson.reply) is by_kind
            expected = verdicts[asked in known.true]
            if asked in bus.true - known.true:
                expected = "perhaps yes"
            assert lesson.reply.endswith(f", so {expected}."), lesson
        assert {asked_about(lesson.question) for lesson in said} > GOLDFISH.true | bus.true - {
            "a thing"  # nobody asks whether it is one
        }
        assert second_guess(replace(known, second=carp)) == carp
        assert second_guess(replace(known, second=FISH)) is None  # it is one anyway
    assert second_guess(replace(GOLDFISH, second=bus)) is None
    assert all(
        " or " not in lesson.reply
        for lesson in lessons(name_lesson, replace(GOLDFISH, sure="unsure", second=bus), 50)
    )


def test_a_second_guess_of_the_same_kind_is_said_only_where_it_decides():
    carp = Known(("a carp",), "a fish", "an animal", medium="photo")
    for lesson in lessons(
        yes_no_lesson, replace(GOLDFISH, sure="unsure", second=carp), 300, others=OTHERS
    ):
        by_kind = OTHERS.word_for(GOLDFISH, asked_about(lesson.question)) is not None
        assert ("a carp" not in lesson.reply) is by_kind, lesson
    fish, dog = (KINDS[VOCABULARY.number(name)] for name in ("a fish", "a dog"))
    assert OTHERS.word_for(fish, "a dog") == OTHERS.word_for(dog, "a dog") == "an animal"
    said = lessons(yes_no_lesson, replace(fish, sure="unsure", second=dog), 300, others=OTHERS)
    perhaps = [lesson.reply for lesson in said if "perhaps" in lesson.reply]
    assert perhaps and all("a dog" in reply for reply in perhaps)


def test_scenes_are_asked_for_colour_and_shape_and_other_pictures_are_not():
    said = {lesson.reply for lesson in lessons(scene_lesson, SCENE, 500)}
    assert said == {
        *("Yes.", "No.", "It is teal.", "It is a triangle.", "teal", "triangle"),
        *("This is a teal triangle.", "a teal triangle"),
    }
    with pytest.raises(ValueError, match="colour and a shape"):
        scene_lesson(GOLDFISH, random.Random(0))
    refused = {lesson.reply for lesson in lessons(refusal_lesson, GOLDFISH, 300)}
    assert refused == set(sight_words.REFUSALS.values())
    assert "I can only tell the colour of plain shapes." not in {
        lesson.reply for lesson in lessons(refusal_lesson, SCENE, 300)
    }


def test_the_same_seed_asks_the_same():
    first, again = (lessons(yes_no_lesson, GOLDFISH, 50, others=OTHERS) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("taught", "elsewhere"),
    [
        (sight_words.ASKED, sight_words.ASKED_ELSEWHERE),
        (sight_words.ASKED_IN_VAIN, sight_words.IN_VAIN_ELSEWHERE),
    ],
)
def test_the_exam_asks_in_words_that_are_not_taught(taught, elsewhere):
    every = {text for some in taught.values() for text in some}
    assert set(taught) <= set(elsewhere)
    for sort, some in elsewhere.items():
        assert len(some) == 2 and not set(some) & every
        assert len(taught.get(sort, range(8))) >= 8
    asides = [line.split("\t") for line in ASIDES.read_text("utf-8").splitlines()]
    assert len(asides) == len({question for question, _ in asides}) == 100
    talk = {text.lower() for text in unrelated_questions(TALK.read_text("utf-8"), "")}
    assert len(talk) > 700 and not talk & {question.lower() for question, _ in asides}


def test_talk_about_other_things_is_short():
    passages = "The history of the city begins with Rome.\n\nOnce upon a time"
    assert unrelated_questions("Who was {}?\tBach|Homer\n{}\tHello!\n", passages) == (
        *("Who was Bach?", "Who was Homer?", "Hello!"),
        "Continue this text: The history of the city begins",
        "Continue this text: Once upon a time",
    )
    assert shortened(" It is Paris. It is big! And it") == "It is Paris. It is big!"
    assert shortened("Eggs:\n1. Boil. Then eat. Done.") == "Eggs:\n1. Boil. Then eat."
    assert shortened("no end in sight") == "no end in sight"


def test_a_reply_is_judged_by_what_it_says():
    assert plain_reply("This is a Golden Retriever.") == "golden retriever"
    assert plain_reply("It may be an animal.") == "animal"
    assert names_it("This may be a goldfish.", Lesson("?", "!"), GOLDFISH)
    assert names_it("maybe a goldfish", Lesson("?", "!"), GOLDFISH)
    penguin = Known(("a king penguin", "a penguin"), "a bird", "an animal")
    right = ("This is a penguin.", "a king penguin", "This is a bird, maybe a king penguin.")
    wrong = ("This is a bird.", "a bird, maybe a goose", "This is a penguin, maybe a goose.", "")
    lesson = Lesson("What is this?", "This is a king penguin.")
    assert all(names_it(reply, lesson, penguin) for reply in right)
    assert not any(names_it(reply, lesson, penguin) for reply in wrong)
    assert same_phrase("a bird", Lesson("?", "It is a bird."), penguin)
    assert not same_phrase("It is a birdcage.", Lesson("?", "It is a bird."), penguin)
    broadly = same_broadly({"a bird": "a bird", "a house": "a building", "a shop": "a building"})
    house = Known(("a hut",), "a house", "a place")
    assert broadly("It may be a shop.", Lesson("?", ""), house) and broadly("bird", lesson, penguin)
    assert not any(broadly(said, lesson, house) for said in ("It is a bird.", "a building", ""))
    yes, no = Lesson("?", "This is a penguin, so yes."), Lesson("?", "This is a penguin, so no.")
    assert same_answer("This may be a goose, so probably yes.", yes, penguin)
    assert same_answer("This may be a goose, so probably not.", no, penguin) is True
    assert same_answer("No", no, penguin) and not same_answer("No", yes, penguin)
    assert not same_answer("This is a knot", no, penguin)
    assert holds("It is a star: the Sun.", "sun|moon") and holds("Butterflies!", "butterfl")
    assert not holds("A sauna. It is hot. The sun is too.", "sun")


class Reader:
    """Sees which row it is given, and names its kind."""

    def __init__(self, known: Sequence[Known]) -> None:
        self.known = known

    def replies(self, asked, rows, features, strength=1.0):
        return [f"This is {self.known[row].name}." for row in rows]


def test_a_swapped_picture_is_always_of_another_group():
    known = tuple({kind.group: kind for kind in KINDS}.values())[:10]
    hall = Hall(known, torch.zeros(10, 1), torch.zeros(10, 1))
    found = judged(Reader(known), hall, name_lesson, names_it)
    assert (found.own, found.other, found.changed, len(found.replies)) == (100, 0, 100, 10)
    rows = {row.name.strip(): row.runs[0] for row in named_rows("naming", found)}
    assert rows["naming"] == 100 and rows["every picture swapped for one of another group"] == 0
    assert rows["best without a picture"] == pytest.approx(10)
    assert rows['"This may be a goldfish."'] == 0


def test_auto_is_counted_by_whose_pictures_they_are_like(small):
    adapters = [new(small, made_up(16)) for _ in range(2)]
    for adapter, place in zip(adapters, (0.0, 10.0), strict=True):
        adapter.visual.measure(place + torch.randn(50, 6))
    features = torch.cat([torch.zeros(3, 6), torch.full((1, 6), 10.0)])
    row = chosen(*adapters, "made up", Hall((), features, features))[0]
    assert (row.median, row.note) == (75, "4 pictures")
    other = torch.zeros(4, 6)  # to the other's eyes all four are unlike its own
    assert chosen(*adapters, "made up", Hall((), other, other))[0].median == 100


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def small(
    tiny_llama_folder: Callable[..., Path],
    no_progress,
    tmp_path_factory: pytest.TempPathFactory,
    one_thread: None,
) -> Base:
    folder = tiny_llama_folder(max_position_embeddings=512)
    return open_base(str(folder), tmp_path_factory.mktemp("cache"), no_progress)


def made_up(count: int, size: int = 6) -> Seen:
    """Looks without pictures: scenes first, then photographs and drawings."""
    generator = torch.Generator().manual_seed(0)
    number = VOCABULARY.number
    kinds = [number("a teal triangle"), -1, number("a goldfish"), number("an abacus")]
    rows = torch.tensor(kinds).repeat(count // 4)
    return Seen(
        features=torch.randn(count, size, generator=generator).half(),
        kinds=rows,
        medium=torch.tensor([0, 0, 1, 2]).repeat(count // 4),
        fine=torch.linspace(0, 1, count),
        coarse=torch.linspace(0.3, 1, count),
        held_out=torch.arange(count) >= count // 2,
        facts={
            **{"kind": "global-mlp", "tower": "eyes", "fingerprint": "print"},
            **{"preprocessing": {}, "token_width": 3},
            "sources": {"easy_vqa": True, "photographs": True, "drawings": True},
        },
    )


def new(base: Base, seen: Seen, **sizes: int) -> Adapter:
    """With a projection that has to be fitted."""
    recipe = sight_start.Recipe(**{"layers": 2, "prompts": 3, **sizes}, eyes="slots")
    return sight_start.new(recipe, base, seen, len(KINDS))


ROWS = [
    Question(text, answer, 4 * place)
    for place in range(3)
    for text, answer in [
        ("what shape is in the image?", "triangle"),
        *(("is there a teal shape?", "yes"), ("is there a red shape?", "no")),
        *(("is there not a teal shape?", "no"), ("is there not a red shape?", "yes")),
        *(("is a circle present?", "no"), ("is a triangle present?", "yes")),
        *(("is no circle present?", "yes"), ("is no triangle present?", "no")),
    ]
]


def test_what_is_known_of_a_look_follows_the_tower(tmp_path):
    seen = made_up(16)
    seen.save(tmp_path / "seen.safetensors")
    loaded = Seen.load(tmp_path / "seen.safetensors")
    assert loaded.facts == seen.facts and torch.equal(loaded.features, seen.features)
    known = known_rows(loaded, sight_pictures.learned_kinds(loaded))
    assert known[1] is None
    assert known[2] is not None and known[2].name == "a goldfish" and known[2].medium == "photo"
    sure = [look.sure for look in known if look]
    assert (sure[0], sure[4], sure[-1]) == ("unsure", "coarse", "fine")


def test_a_mix_asks_in_its_shares(small):
    seen = made_up(16)
    material = Material(known_rows(seen, KINDS), KINDS, ROWS, [Lesson("Hello!", "Hello.")])
    mix = Mix(name=0.5, easy_vqa=0.3, unrelated=0.2, turns=0.3)
    examples = drawn_examples(small.tokenizer, material, mix, 200, 0, pool=6)
    assert examples == drawn_examples(small.tokenizer, material, mix, 200, 0, pool=6)
    assert {example.picture % 4 for example in examples} <= {0, 2, 3}
    assert len({example.picture for example in examples}) <= 6 + 3
    texts = [small.tokenizer.decode(example.ids) for example in examples]
    assert 0.15 < sum("Hello!" in text for text in texts) / 200 < 0.35
    turns = [text.count("assistant") for text in texts]
    assert set(turns) == {1, 2, 3} and 0.2 < sum(count > 1 for count in turns) / 200 < 0.4


def test_a_verdict_can_be_all_that_is_learned(small):
    seen = made_up(16)
    material = Material(known_rows(seen, KINDS), KINDS, ROWS, [])

    def learned(mix: Mix) -> list[str]:
        examples = drawn_examples(small.tokenizer, material, mix, 60, 0)
        kept = [[i for i in example.labels if i != IGNORED] for example in examples]
        assert len({example.ids for example in examples}) > 30
        return [small.tokenizer.decode(ids).strip() for ids in kept]

    verdicts = {"yes.", "no.", "probably yes.", "probably not.", "perhaps yes."}
    assert set(learned(Mix(yes_no=1.0, verdicts=1.0))) <= verdicts
    assert all(", so " in text for text in learned(Mix(yes_no=1.0)))
    # What the turns before say of yes or no is learned with them, and only so.
    several = learned(Mix(yes_no=1.0, verdicts=1.0, turns=1.0))
    assert max(text.count(".") for text in several) == 3 and not any("This" in t for t in several)
    alone = learned(Mix(yes_no=1.0, turns=1.0))
    assert all(text.count(", so ") == 1 for text in alone)


def test_facts_of_scenes_are_colours_and_shapes(small):
    seen = made_up(16)
    material = Material(known_rows(seen, KINDS), KINDS, ROWS, [])
    examples = drawn_examples(small.tokenizer, material, Mix(fact=1.0), 60, 0)
    assert {example.picture % 4 for example in examples} == {0}
    texts = [small.tokenizer.decode(example.ids).lower() for example in examples]
    assert all(("teal" in text) or ("triangle" in text) for text in texts)
    assert not any(text.endswith(("yes.", "no.")) for text in texts)


@pytest.mark.parametrize("eyes", sight_start.EYES)
def test_a_stage_learns_and_what_it_writes_can_be_read(small, tmp_path, monkeypatch, eyes):
    monkeypatch.setattr(sight, "JUDGED", 3)
    seen = made_up(16)
    base, recipe = small, sight_start.Recipe(layers=2, prompts=3, hidden=4, eyes=eyes)
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), 512)
    known = known_rows(seen, KINDS)
    parts = (Material(known, KINDS, ROWS, [Lesson("Hello!", "Hello.")]),) * 2
    adapter = sight_start.new(recipe, base, seen, len(KINDS))
    before = adapter.gate.clone()
    stage = replace(sight.STAGES["eyes"], steps=2, batch=4)
    found = sight.learn(stage, recipe, base, model, adapter, parts, seen.features)
    assert set(found) == set(stage.mix.shares)
    assert not torch.equal(adapter.gate, before)
    learned = adapter.gate.clone()
    sight.learn(stage, recipe, base, model, adapter, parts, seen.features, keep=1.0)
    assert torch.equal(adapter.gate, learned)
    passport = sight.passport(base, seen, adapter, found)
    save_adapter(adapter, passport, tmp_path / "sight.safetensors")
    assert load_adapter(tmp_path / "sight.safetensors")[1] == passport


def test_a_projection_learns_to_say_what_the_base_would_read(small):
    """Looks at four kinds, each with features of its own: told apart before the base is asked."""
    base, seen = small, made_up(160)
    places = torch.arange(4).repeat(40)
    features = 3 * torch.eye(6)[places] + 0.1 * seen.features.float()
    seen = replace(seen, features=features.half())
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), 512)
    adapter = new(base, seen, prompts=16, hidden=16)
    centre, aim = targets(model, base.tokenizer, KINDS, 2, 16)
    assert centre.shape == (16, base.config.width) and aim.shape == (len(KINDS), *centre.shape)
    assert aim.mean(0).abs().max() < 1e-4
    open_up(adapter, centre)
    assert torch.allclose(adapter.gate.tanh(), torch.full_like(adapter.gate, OPEN))
    assert fit(adapter, aim, seen, epochs=300) > 0.9
    adapter = new(base, seen)
    adapter.spec = replace(adapter.spec, visual=replace(adapter.spec.visual, slots=1))
    with pytest.raises(ValueError, match="vector for each prompt"):
        fit(adapter, aim, seen)


def test_a_new_projection_is_joined_to_what_reads_it(small):
    seen = made_up(16)
    before = new(small, seen, hidden=4)
    fresh = new(small, seen, hidden=5)
    eyes = fresh.visual.inner.weight.clone()
    assert sight_start.taken_up(before, fresh, False) is before
    joined = sight_start.taken_up(before, fresh, True)
    assert torch.equal(joined.prompts, before.prompts) and joined.spec.visual.hidden == 5
    assert torch.equal(joined.visual.inner.weight, eyes)
    more = new(small, seen, prompts=before.spec.prompts + 2, hidden=4)
    last = more.prompts[:, -2:].clone()
    joined = sight_start.taken_up(before, more, True)
    assert torch.equal(joined.prompts[:, :-2], before.prompts)
    assert torch.equal(joined.prompts[:, -2:], last)
    other = new(small, seen, layers=1, hidden=4)
    with pytest.raises(ValueError, match="not as the recipe says"):
        sight_start.taken_up(other, fresh, True)


def test_each_word_has_prompts_of_its_own(small):
    """With one layer they are what enters its attention, at the tokens of the written words."""
    assert places_of(16) == (6, 4, 2, 2) and places_of(3) == (2, 0, 0, 0)
    model = Llama(small.config, small.weights, Int8Linear(torch.float32), 512)
    encode, goldfish = small.tokenizer.encode_text, KINDS[VOCABULARY.number("a goldfish")]
    pieces = "The picture shows", " a goldfish", ",", " a fish", ",", " an animal"
    ids = [encode(piece) for piece in pieces]
    starts = np.cumsum([0, *map(len, ids)])
    parts = (1, 6), (3, 4), (5, 2), (1, 2)
    words = [starts[i] + np.arange(n).clip(max=len(ids[i]) - 1) for i, n in parts]
    last = small.config.layers - 1
    with torch.no_grad():
        x = model.run(model.embed(torch.tensor([sum(ids, [])])), range(last))
        states = model.norm(x, small.weights.attention_norm[last])[0]
    found = written_states(model, small.tokenizer, [goldfish], 1, 16)[0]
    assert torch.allclose(found[:14], states[np.concatenate(words)], atol=1e-5)
    assert found.shape[0] == 16 and not found[14:].any()  # the others say nothing of it
    # A second guess is read in a sentence of its own, and the first stays where it was.
    both = written_states(model, small.tokenizer, [goldfish], 1, 24, 8)[0]
    assert torch.equal(both[:16], found)
    ids = [encode(piece) for piece in ("It may also be", " a goldfish", ",", " a fish")]
    starts = np.cumsum([0, *map(len, ids)])
    parts = zip((1, 3), NEXT, strict=True)
    words = [starts[i] + np.arange(n).clip(max=len(ids[i]) - 1) for i, n in parts]
    with torch.no_grad():
        x = model.run(model.embed(torch.tensor([sum(ids, [])])), range(last))
        states = model.norm(x, small.weights.attention_norm[last])[0]
    assert torch.allclose(both[16:], states[np.concatenate(words)], atol=1e-5)
    with pytest.raises(ValueError, match="3 prompts for a second guess, not 8"):
        written_states(model, small.tokenizer, [goldfish], 1, 24, 3)
    # Many are read at once, those with as many tokens together.
    some = KINDS[:40]
    alone = [written_states(model, small.tokenizer, [kind], 1, 24, 8)[0] for kind in some]
    together = written_states(model, small.tokenizer, some, 1, 24, 8)
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def test_what_is_told_is_as_clear_as_it_says():
    seen = made_up(400)
    found = told(seen, KINDS, 0)
    assert torch.equal(told(seen, KINDS, 0).features, found.features)
    known = seen.kinds >= 0
    shares = found.features.float()
    assert torch.allclose(shares.sum(1), known.float(), atol=2e-3)
    assert torch.equal(shares[known].argmax(1), seen.kinds[known])
    assert (found.fine[seen.medium == 0] == (seen.kinds[seen.medium == 0] >= 0)).all()
    levels = Counter(found.sure(row) for row in torch.nonzero(seen.medium > 0)[:, 0].tolist())
    assert all(levels[level] > 30 for level in ("fine", "coarse", "unsure"))
    aim = torch.randn(len(KINDS), 3, 2)
    said = Told(aim)(shares[2:3])
    kinds = shares[2].nonzero()[:, 0]
    sharp = shares[2] ** SHARP / (shares[2] ** SHARP).sum()
    for prompt, mixed in ((0, sharp), (1, sharp), (2, shares[2])):  # the last is not of the name
        expected = sum(mixed[k] * aim[k, prompt] for k in kinds)
        assert torch.allclose(said[0, prompt], expected, atol=5e-3)


def test_a_second_guess_is_what_is_left_without_the_first():
    shares = torch.zeros(2, len(KINDS))
    shares[0, [5, 9, 2]] = torch.tensor([0.6, 0.3, 0.1])
    shares[1, [4, 7]] = torch.tensor([1 - RIVAL / 2, RIVAL / 2])
    assert rivals(shares).tolist() == [9, sight_pictures.UNKNOWN]
    aim = torch.randn(len(KINDS), 4, 2)
    said = Told(aim, seconds=1)(shares)
    left = torch.tensor([0.3, 0.1]) ** SHARP
    expected = (left[:, None] * aim[[9, 2], 3]).sum(0) / left.sum()
    assert torch.allclose(said[0, 3], expected, atol=1e-3)
    assert torch.allclose(said[:, :3], Told(aim[:, :3])(shares), atol=1e-6)
    seen = replace(made_up(400), features=torch.zeros(400, len(KINDS)))
    second = torch.arange(400) % 7 - 1
    known = known_rows(seen, KINDS, second)
    for row, fact in enumerate(known):
        if fact is not None:
            number = int(second[row])
            assert fact.second == (None if number < 0 else KINDS[number])


def test_talk_is_rehearsed_beside_pictures(small):
    talk = [Lesson("Hello!", "Hi."), Lesson("Who was Bach?", "A composer.")]
    texts = rehearsed(small.tokenizer, talk, [4, 8], 0)
    assert texts == rehearsed(small.tokenizer, talk, [4, 8], 0)
    assert {text.picture for text in texts} == {4, 8}
    said = [small.tokenizer.decode(text.ids) for text in texts]
    assert sum("Who was Bach" in text for text in said) == 1 and len(said) > 20


def memory_of(captions: torch.Tensor, size: int, said: torch.Tensor) -> KeyValueMemory:
    """Of a tower with that many features, whose statistics and constants are not plain."""
    generator = torch.Generator().manual_seed(3)
    spec = VisualSpec(size, 64, "key-value-memory", slots=said.shape[1], entries=len(captions))
    memory = KeyValueMemory(spec, said.shape[2])
    memory.measure(2 + 3 * torch.randn(50, size, generator=generator))
    statistics = torch.rand(2, size, generator=generator) + 0.5
    remember(memory, captions, statistics, said)
    memory.statistics = statistics
    return memory


def test_a_memory_sees_as_the_captions_do():
    """A softmax over cosines of embeddings, read off standardised features."""
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(30, 128, generator=generator)
    embeddings -= embeddings.mean(1, keepdim=True)
    captions = 20 * torch.nn.functional.normalize(torch.randn(9, 128, generator=generator), dim=1)
    said = torch.randn(9, 4, 5, generator=generator)
    memory = memory_of(captions, 150, said)
    whole = torch.randn(30, 150, generator=generator)
    whole[:, -128:] = torch.nn.functional.layer_norm(embeddings, (128,))
    mean, spread = memory.statistics
    expected = (torch.nn.functional.normalize(embeddings, dim=1) @ captions.T).softmax(1)
    shares = memory.logits((whole - mean) / spread).softmax(1)
    assert torch.allclose(shares, expected, atol=1e-3)
    # Nine things need no more than nine numbers, so nothing is lost of what is said of them.
    assert torch.allclose(memory((whole - mean) / spread), Told(said)(shares), atol=1e-3)


def test_half_of_what_is_told_is_what_a_memory_sees():
    seen = made_up(400, 128)
    captions = 20 * torch.nn.functional.normalize(torch.randn(len(KINDS), 128), dim=1)
    memory = memory_of(captions, 128, torch.zeros(len(KINDS), 3, 2))
    found = told(seen, KINDS, 0, memory)
    other = seen.medium > 0
    changed = (found.kinds != seen.kinds)[other].float().mean()
    assert 0.35 < changed < 0.65
    assert torch.equal(found.kinds[~other], seen.kinds[~other])
    known = found.kinds >= 0
    assert torch.equal(found.features.float()[known].argmax(1), found.kinds[known])
    assert torch.equal(seen.kinds, made_up(400, 128).kinds)  # what was given stays as it was


class Tower:
    """Three numbers of a picture, which are its embedding too."""

    name, fingerprint, token_width = "eyes", "print", 0

    def batch_with_embeddings(self, pictures, kind):
        return self.embeddings(pictures), self.embeddings(pictures)

    def embeddings(self, pictures):
        means = [picture.rgb.mean((0, 1), dtype=np.float32) / 255 for picture in pictures]
        return torch.nn.functional.normalize(torch.tensor(np.stack(means)), dim=1)


def test_how_sure_the_tower_is_of_a_kind_and_of_its_group():
    eyes = object.__new__(Eyes)
    eyes.tower, eyes.projection = Tower(), "global-mlp"
    eyes._texts = 20 * torch.eye(3)  # three kinds, the first two of one group
    eyes._together = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    views = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]).view(3, 3, 1, 1)
    views = views.expand(3, 3, 4, 4)
    features, fine, coarse = eyes.look(sight_pictures.shown(views), torch.tensor([0, 1, -1]))
    assert features.dtype == torch.float16 and features.shape == (3, 3)
    assert fine[0] > 0.99 and 0.4 < fine[1] < 0.6 and coarse[1] > 0.99
    assert fine[2] == coarse[2] == 0  # nothing is known of it


def test_probabilities_become_as_sharp_as_the_tower_is_right():
    """Nine of ten are right, and the tower thinks less, or more."""
    eyes = object.__new__(Eyes)
    eyes.tower, eyes.projection = Tower(), "global-mlp"
    eyes._together = torch.eye(3)
    views = torch.tensor([[1.0, 0, 0]] * 10).view(10, 3, 1, 1).expand(10, 3, 4, 4)
    pictures, kinds = sight_pictures.shown(views), torch.tensor([0] * 9 + [1])
    for own in (1.5, 6.0):
        eyes._texts = own * torch.eye(3)
        factor = eyes.calibrate(pictures, kinds)
        assert (factor > 1) == (own < 3)
        assert abs(float(eyes.look(pictures, kinds)[1][0]) - 0.9) < 0.04
