"""Names and kinds from WordNet's tree: on a small one, and the tables as they are."""

from pathlib import Path

import pytest

from checkpoints.recipes.data.wordnet import (
    EVERYDAY,
    SENSES,
    WordNet,
    articled,
    bare,
    drawn_kinds,
    imagenet_kinds,
    kinds_of,
)

DATA = """  1 This line belongs to the licence.
00000001 03 n 01 entity 0 000 | all there is
00000002 03 n 02 food 0 nutrient 0 001 @ 00000001 n 0000 | what is eaten
00000003 13 n 01 edible_fruit 0 001 @ 00000002 n 0000 | sweet
00000004 13 n 02 apple 0 Malus_pumila 0 001 @ 00000003 n 0000 | round
"""
INDEX = """  1 licence
entity n 1 0 1 1 00000001
food n 1 1 @ 1 1 00000002
nutrient n 1 1 @ 1 0 00000002
edible_fruit n 1 1 @ 1 0 00000003
apple n 1 1 @ 1 1 00000004
"""


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    (tmp_path / "data.noun").write_text(DATA)
    (tmp_path / "index.noun").write_text(INDEX)
    (tmp_path / "cntlist.rev").write_text("food%1:13:00:: 1 29\napple%1:13:00:: 1 2\n")
    return WordNet.read(tmp_path)


def test_what_an_apple_is_follows_from_the_tree(wordnet: WordNet) -> None:
    assert wordnet.above("00000004") == ["00000003", "00000002", "00000001"]
    group, top, wider = kinds_of(wordnet, "00000004")
    assert (group, top) == ("a fruit", "a thing")  # its top is known by ImageNet's own numbers
    assert {"edible fruit", "fruit", "food", "nutrient"} <= set(wider)
    assert "entity" not in wider  # true of everything


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tench", "a tench"),
        ("owl", "an owl"),
        ("sunglasses", "sunglasses"),
        ("bus", "a bus"),
        ("unicycle", "a unicycle"),
        ("European gallinule", "a European gallinule"),
    ],
)
def test_a_noun_has_its_article(word: str, said: str) -> None:
    assert articled(word) == said
    assert bare(said) == word


def test_the_tables_are_whole() -> None:
    photographs, drawings = imagenet_kinds(), drawn_kinds()
    assert (len(photographs), len(drawings)) == (1000, 500)
    assert [kind.wnid for kind in photographs] == sorted(kind.wnid for kind in photographs)
    assert len({kind.name for kind in photographs}) == 1000  # no everyday name is two kinds'
    for kind in (*photographs, *drawings):
        assert kind.name and kind.group and kind.top and kind.wider
        assert {bare(kind.top).lower(), bare(kind.group).lower()} <= kind.true
    named = {kind.name: kind for kind in photographs}
    assert {"fruit", "food"} <= named["a banana"].true and "animal" not in named["a banana"].true
    assert {"dog", "animal", "mammal"} <= named["a golden retriever"].true


def test_a_kind_is_called_as_people_call_it() -> None:
    named = {kind.wnid: kind for kind in imagenet_kinds()}
    used = [line.split("\t") for line in EVERYDAY.read_text("utf-8").splitlines()]
    assert len(used) > 50 and [wnid for wnid, name in used if named[wnid].name != name] == []
    assert named["n02134084"].exact[:2] == ("a polar bear", "an ice bear")


@pytest.mark.parametrize(
    ("icon", "group", "true", "false"),
    [
        ("fax-machine", "an electronic device", "electronic device", "vehicle"),
        ("bus", "a vehicle", "vehicle", "car"),
        ("crab", "a sea creature", "crustacean", "insect"),
        ("dolphin", "a mammal", "whale", "fish"),
        ("feather", "a body covering", "covering", "bird"),
        ("train", "a vehicle", "public transport", "cloth"),
        ("baby", "a child", "person", "symbol or figure"),
        ("coconut", "a fruit", "food", "vegetable"),
        ("wine-glass", "a container", "container", "food"),
    ],
)
def test_what_is_drawn_is_what_people_mean(icon: str, group: str, true: str, false: str) -> None:
    (kind,) = (kind for kind in drawn_kinds() if kind.wnid == icon)
    assert kind.group == group and true in kind.true and false not in kind.true


def test_a_sense_that_is_given_is_one_of_a_drawing_and_each_once() -> None:
    rows = [line.split("\t") for line in SENSES.read_text("utf-8").splitlines()]
    icons = [icon for icon, _, _ in rows]
    assert len(set(icons)) == len(icons) and set(icons) <= {k.wnid for k in drawn_kinds()}
    assert all(group if not synset else len(synset) == 8 for _, synset, group in rows)
