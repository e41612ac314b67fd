"""Words on the page: each is used, and reads as a sentence that asks for what it is given."""

import string
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

import app
from demo.runtime import Runtime
from demo.settings import ROOT, Settings
from demo.ui import api, door, files, limits, preview, streams, visit
from demo.ui.chat import chats, handlers, view
from demo.ui.chinese import CHINESE
from demo.ui.page import build_page
from demo.ui.server import launch_options
from demo.ui.strings import ENGLISH, Strings
from demo.ui.teach import data_handlers, run_handlers, table_handlers
from demo.ui.teach.words import TeachWords
from tests.unit.ui.snippets import page_snippets, teach_snippets

EVENTS = (
    app,
    api,
    door,
    chats,
    files,
    handlers,
    limits,
    preview,
    streams,
    view,
    visit,
    data_handlers,
    run_handlers,
    table_handlers,
)  # what speaks when asked
asked: set[str] = set()


class NotedTeachWords(TeachWords):
    """Words that note which of them are asked for, under `TeachWords.<name>`."""

    def __getattribute__(self, name: str) -> Any:
        asked.add(f"TeachWords.{name}")
        return super().__getattribute__(name)


class NotedStrings(Strings):
    """Words that note which of them are asked for, under `Strings.<name>`."""

    def __getattribute__(self, name: str) -> Any:
        asked.add(f"Strings.{name}")
        return super().__getattribute__(name)


def attributes(module: ModuleType) -> set[str]:
    """Names of attributes that the functions of a module, inner ones too, read."""

    def inside(code: CodeType) -> Iterator[str]:
        yield from code.co_names
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from inside(constant)

    own = [thing for thing in vars(module).values() if thing.__class__ in (type, FunctionType)]
    own = [thing for thing in own if thing.__module__ == module.__name__]
    functions = [
        function
        for thing in own
        for function in (vars(thing).values() if isinstance(thing, type) else [thing])
    ]
    functions = [getattr(function, "__func__", function) for function in functions]
    codes = [function.__code__ for function in functions if isinstance(function, FunctionType)]
    return {name for code in codes for name in inside(code)}


def test_every_word_is_used(tmp_path: Path) -> None:
    """What the page and its snippets show has been asked for; the rest is an event's."""
    asked.clear()
    strings = NotedStrings(teach=NotedTeachWords())
    settings = Settings(cache=tmp_path, runs=tmp_path / "runs")
    build_page(Runtime(settings), strings)
    launch_options(settings, strings)
    page_snippets(strings)
    teach_snippets(strings.teach)
    said = set().union(*map(attributes, EVENTS))
    words = {f"Strings.{f.name}": f.name for f in fields(Strings)}
    words |= {f"TeachWords.{f.name}": f.name for f in fields(TeachWords)}
    silent = {word: name for word, name in words.items() if word not in asked}
    assert len(silent) < len(words) / 5  # most words are seen at work
    assert not {word for word, name in silent.items() if name not in said}


@pytest.mark.parametrize("words", [ENGLISH, ENGLISH.teach])
def test_sentences_end_as_sentences_and_ask_for_named_things(words: Strings | TeachWords) -> None:
    for field in fields(words):
        text = getattr(words, field.name)
        if isinstance(text, str):
            assert text == text.strip()
            assert all(name != "" for _, name, _, _ in string.Formatter().parse(text))


# Said by the server before it knows whose language is whose.
OF_THE_SERVER = {
    "uploads_full", "uploads_yours", "upload_damaged", "too_large", "other_host", "other_site",
    "too_many_calls", "too_many_logins", "no_such_call", "call_gone", "stopping_now",
}  # fmt: skip
ALIKE = {"title", "api", "top_p", "top_k", "name_default", "map_nothing", "program_code"} | {
    "metric_change", "earlier_label",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "english"),
    [(CHINESE, ENGLISH), (CHINESE.teach, ENGLISH.teach), (CHINESE.about, ENGLISH.about)],
)
def test_another_language_says_everything_and_asks_for_the_same(words: Any, english: Any) -> None:
    def asked(text: str) -> list[str]:
        return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)

    for field in fields(words):
        said, meant = getattr(words, field.name), getattr(english, field.name)
        if isinstance(said, str) and field.name not in OF_THE_SERVER:
            assert said and (said != meant or field.name in ALIKE), field.name
            assert asked(said) == asked(meant), field.name
    if isinstance(words, Strings):
        assert [card.text for card in words.examples] == [card.text for card in english.examples]


def test_example_cards_show_six_pictures_that_exist() -> None:
    pictures = [example.picture for example in ENGLISH.examples if example.picture]
    assert len(pictures) >= 6
    assert all((ROOT / "assets" / "samples" / name).is_file() for name in pictures)
