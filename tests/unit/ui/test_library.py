"""The tab "Library": which cards are shown, and what they say."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from demo.adapter.foreign import LITGPT, OPEN_QUESTION
from demo.adapter.library import Compatibility, Library, set_owner
from demo.adapter.passport import Origin
from demo.ui.chinese import CHINESE
from demo.ui.library import cards
from demo.ui.library.words import LibraryWords
from demo.ui.strings import ENGLISH
from tests.small import save_small

ME = "m" * 32


@pytest.fixture
def folder(base, tmp_path: Path) -> Path:
    save_small(tmp_path, base, "shipped", 1)
    set_owner(tmp_path, "mine", ME)
    save_small(tmp_path, base, "mine", 2)
    return tmp_path


def test_cards_are_searched_and_filtered(base, folder):
    fit = Compatibility(base.name, base.fingerprint, base.config, None, None)
    library, words = Library(folder), LibraryWords()
    offered = library.offered(ME)

    def found(**asked: str) -> list[str]:
        asked_for = cards.Filter(**asked)
        return [e.passport.name for e in offered if asked_for.takes(e, ME, fit)]

    assert found() == ["mine", "shipped"]
    assert found(search="SHIP") == ["shipped"]
    assert found(search="nothing like it") == []
    assert found(show="own") == ["mine"]
    assert found(show="fits") == ["mine", "shipped"]
    page = cards.cards(list(offered), 2, ME, fit, words, "mine")
    assert page.count("adapter-card") == 2 and 'aria-pressed="true"' in page
    assert words.own in page and "everybody" in page and "2 of 2 adapters" in page
    many = [offered[0]] * (cards.SHOWN + 5)
    page = cards.cards(many, len(many), ME, None, words)
    assert page.count("<li>") == cards.SHOWN and "The first 60 of 65 adapters" in page
    told = cards.facts(offered[0], words)
    assert base.name in told and "prompts" in told
    entry = SimpleNamespace(
        path=folder / "gone", stamp=(0, 0), passport=offered[0].passport, owner=None
    )
    assert "gates" not in cards.facts(entry, words)


def test_what_a_file_leaves_open_is_told_in_the_pages_language(base, folder):
    entry = Library(folder).find("shipped")
    origin = Origin("lit_model.pth.adapter", "0", LITGPT, None, {}, OPEN_QUESTION)
    entry = replace(entry, passport=replace(entry.passport, origin=origin))
    assert "which litgpt made it" in cards.facts(entry, ENGLISH.library)
    told = cards.facts(entry, CHINESE.library)
    assert "按较早版本读取" in told and "which litgpt" not in told
