"""The tables of what pictures show."""

import pytest

from checkpoints.recipes.data.concepts import (
    drawing_concepts,
    like,
    photograph_concepts,
)


def test_tables_are_whole() -> None:
    photos, drawn = photograph_concepts(), drawing_concepts()
    assert (len(photos), len(drawn)) == (200, 500)
    names = [concept.name for concept in photos.values()]
    assert len(set(names)) == 200
    assert len({concept.name for concept in drawn.values()}) == 500
    phrases = [phrase for concept in photos.values() for phrase in concept.exact]
    assert len(set(phrases)) == len(phrases)  # no phrase names two kinds
    groups = {concept.group for concept in photos.values()}
    assert 25 <= len(groups) <= 35
    for concept in (*photos.values(), *drawn.values()):
        assert all(phrase == phrase.strip() and phrase for phrase in concept.captions)
        assert concept.captions[0] == concept.name
        assert concept.captions[-1] == concept.top


@pytest.mark.parametrize(
    ("name", "word", "phrase"),
    [
        ("a mountain", "alp", "an alp"),
        ("a mantis", "praying mantis", "a praying mantis"),
        ("sunglasses", "dark glasses", "dark glasses"),
    ],
)
def test_a_synonym_gets_the_names_article(name: str, word: str, phrase: str) -> None:
    assert like(name, word) == phrase
