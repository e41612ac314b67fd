"""Photographs from zips, the tables of what they show, and the captions made of both."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demo.recipes.concepts import drawing_concepts, like, photograph_concepts
from demo.recipes.photographs import photographs
from demo.recipes.vocabulary import (
    Kind,
    Vocabulary,
    drawing_kinds,
    photograph_kinds,
    shape_kinds,
)

GOLDFISH, LEMON = "n01443537", "n07749582"


def jpeg(colour: tuple[int, int, int], mode: str = "RGB") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), colour).convert(mode).save(data, "JPEG")
    return data.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "train-0.zip", "w") as files:
        files.writestr(f"{LEMON}/001.jpg", jpeg((250, 230, 20)))
        files.writestr(f"{GOLDFISH}/000.jpg", jpeg((250, 120, 0)))
        files.writestr(f"{GOLDFISH}/readme.txt", "not a picture")
        files.writestr("n99999999/000.jpg", jpeg((0, 0, 0)))
    with zipfile.ZipFile(tmp_path / "train-1.zip", "w") as files:
        files.writestr(f"{GOLDFISH}/001.jpg", jpeg((90, 90, 90), "L"))
    with zipfile.ZipFile(tmp_path / "val.zip", "w") as files:
        files.writestr(f"{LEMON}/01.jpg", jpeg((250, 230, 20)))
    return tmp_path


def test_pictures_of_all_zips_in_order(folder: Path) -> None:
    scenes = list(photographs(folder)("train"))
    assert [s.captions[0] for s in scenes] == ["a goldfish", "a lemon", "a goldfish"]
    assert scenes[0].captions == ("a goldfish", "a fish", "an animal")
    assert {s.rgb.shape for s in scenes} == {(64, 64, 3)}  # the grey one too
    assert [s.captions[0] for s in photographs(folder)("test")] == ["a lemon"]


def test_a_folder_without_zips_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train-\*\.zip"):
        list(photographs(tmp_path)("train"))


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


def test_kinds_of_two_sources_become_one() -> None:
    known = Vocabulary([*shape_kinds(), *photograph_kinds(), *drawing_kinds()])
    assert known.number("a penguin") == known.number("a king penguin") is not None
    lemon = known.kinds[known.number("a lemon")]
    assert lemon.medium is None
    assert not any("photo" in s or "drawing" in s for s in lemon.sentences)
    goldfish = known.kinds[known.number("a goldfish")]
    assert "a photo of a goldfish" in goldfish.sentences
    assert known.number("an animal") is None
    assert int(known.true.sum(1).min()) > 0


def test_a_wider_name_is_known_to_be_true() -> None:
    known = Vocabulary([Kind(("a goldfish",), ("a fish",)), Kind(("a fish",), ("an animal",))])
    assert known.wider.tolist() == [[False, True], [False, False]]
    assert known.true.tolist() == [[True, False], [False, True]]


def test_a_sentence_is_drawn_for_every_caption() -> None:
    known = Vocabulary([Kind(("a cat", "a tom"), ("an animal",)), Kind(("a dog",), ("an animal",))])

    def tokenize(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[len(text), hash(text) % 1000] for text in texts])

    sentences = known.sentences(tokenize)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([sentences.draw(generator) for _ in range(50)])
    assert drawn.shape == (50, 3, 2)
    cat = tokenize([s for s in known.kinds[0].sentences]).unique(dim=0)
    assert torch.equal(drawn[:, 0].unique(dim=0), cat)
    again = sentences.draw(torch.Generator().manual_seed(0))
    assert np.array_equal(again.numpy(), drawn[0].numpy())
