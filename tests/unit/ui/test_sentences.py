"""What deeper layers say is said in the page's language: all of it that a visitor may meet."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from demo.adapter.passport import read_passport
from demo.chat.conversation import Conversation
from demo.errors import DemoError
from demo.finetune.data.columns import Layout
from demo.finetune.data.read import read_table
from demo.finetune.runs import run_folder
from demo.finetune.train.config import TrainingOptions
from demo.runtime import Runtime
from demo.settings import ROOT, Settings
from demo.ui.chinese import CHINESE
from demo.ui.page import build_page
from demo.ui.sentences import Sentences, read_sentences
from demo.ui.strings import ENGLISH
from demo.ui.theme import ASSETS
from demo.vision.image import open_picture
from tests.unit.ui.raised import GAP, raised

KNOWN = read_sentences(ASSETS / "sentences.zh.tsv")
# What these say to visitors is translated, every sentence of it.
SPEAKERS = (
    "chat/adapter_choice", "chat/chat_file", "chat/conversation", "chat/scheduler",
    "finetune/runs/queue", "finetune/runs/run_folder", "teaching/drafts", "teaching/service",
    "vision/image", "vision/video", "adapter/intake", "adapter/shelf",
    "adapter/config", "adapter/passport", "adapter/released_changes", "finetune/train/state",
)  # fmt: skip
FACTS = {"taught": 12, "taught_known": 9, "otherwise": 20, "otherwise_known": 3}


def literals(path: Path) -> list[str]:
    """Texts in a file's code, with `{}` for what is filled in."""
    found, inner = [], set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(value) for value in node.values}
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub(r"\{\w*(?::[^}]*)?\}", "{}", node.value))
    return found


def test_a_message_is_looked_up_whole_then_piece_by_piece() -> None:
    said = Sentences(
        {"It is {}. Go.": "是{0}。走。", "Stop.": "停。", "red": "红", "See {}.": "看{0*}。"}
    )
    assert said("It is Stop.. Go.") == "是Stop.。走。"  # what is filled in stays as it was
    assert said("Stop. See red. Who? Stop.") == "停。看红。Who? 停。"
    assert Sentences()("Stop. Go.") == "Stop. Go."
    assert said("") == ""


def test_every_translation_is_of_a_sentence_that_is_still_said() -> None:
    code = "\n".join(text for path in (ROOT / "demo").rglob("*.py") for text in literals(path))
    code += "\n" + "\n".join(message.replace(GAP, "{}") for _, message in raised())
    for name in (
        "adapters/shapes.safetensors",
        "adapters/sight.safetensors",
        "tower/passport.json",
    ):
        code += (ROOT / "checkpoints" / name).read_bytes()[:20_000].decode("utf-8", "ignore")
    composed = ("Knows", "The sheet {}", "Row {}", "Line {}")  # of several pieces
    gone = [
        text
        for text in KNOWN
        if text.removesuffix(", {}").rstrip(".") not in code and not text.startswith(composed)
    ]
    assert len(gone) <= len(KNOWN) // 50, gone  # one that was put otherwise may wait a while
    for text, said in KNOWN.items():
        gaps = {int(number) for number in re.findall(r"\{(\d+)", said)}
        assert gaps <= set(range(text.count("{}"))), text


@pytest.mark.parametrize("module", SPEAKERS)
def test_what_visitors_are_told_is_translated(module: str) -> None:
    path = ROOT / "demo" / f"{module}.py"
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {
        (ast.get_docstring(n, clean=False) or "").strip() for n in nodes if isinstance(n, holders)
    }
    for text in map(str.strip, literals(path)):
        if re.fullmatch(r"[A-Z{“'].* .*[a-z}]\.", text) and text not in docs:
            pieces = re.split(r"(?<=\.)\s+", re.sub(r"^\{\} ", "", text))
            assert all(any(piece.rstrip(".") in known for known in KNOWN) for piece in pieces), text


def english_in(text: str) -> str | None:
    """Find words in a row that are English; names of files, flags and quoted code are none."""
    bare = re.sub(r"'[^']*'|“[^”]*”|--[a-z]+(?: [A-Za-z]+)?|[\[{].*[\]}]", "", text)
    found = re.search(r"[A-Za-z]{2,} [a-z]{2,}", bare)
    return found and found[0]


@pytest.mark.parametrize("what", ["their sources", "nothing"])
def test_every_error_that_reaches_the_page_is_said_in_chinese(what: str) -> None:
    said = CHINESE.said if what == "their sources" else Sentences()
    silent = [(place, text) for place, text in raised() if english_in(said(text))]
    if what == "nothing":  # what looks for English finds it
        assert len(silent) > 300
    else:
        assert silent == []


@pytest.mark.parametrize(
    "message",
    [
        run_folder.done_message(40, early=True, metrics={**FACTS, "ordinary_kept": 0.87}),
        run_folder.done_message(1, early=False, metrics=FACTS),
        run_folder.done_message(1, early=False, metrics={**FACTS, "otherwise": 0}),
        run_folder.stopped_message(2, gained=False, metrics={"taught": 1, "taught_known": 1}),
        run_folder.diverged_message(3, 2),
    ],
)
def test_the_verdict_on_a_training_is_wholly_in_the_pages_language(message: str) -> None:
    assert not re.search("[A-Za-z]{2}", CHINESE.teach.said(message))
    assert ENGLISH.teach.said(message) == message


def test_no_english_stands_on_the_chinese_page(tmp_path: Path) -> None:
    """Nothing that is built into it is a sentence for which there is a Chinese one."""
    page = build_page(Runtime(Settings(cache=tmp_path, runs=tmp_path / "runs")))
    config = page.get_config_file()
    ids = {*config["page"]["zh"]["components"]}
    shown = [
        {name: value for name, value in c["props"].items() if name not in ("js_on_load", "choices")}
        | {"labels": [label for label, _ in c["props"].get("choices") or ()]}
        for c in config["components"]
        if c["id"] in ids
    ]
    text = json.dumps(shown, ensure_ascii=False, default=str)
    assert "教它一点东西" in text
    english = {text for text in KNOWN if "{}" not in text}
    for words, other in (
        (ENGLISH, CHINESE),
        *((getattr(ENGLISH, n), getattr(CHINESE, n)) for n in ("teach", "library", "about")),
    ):
        for field in fields(words):
            here, there = getattr(words, field.name), getattr(other, field.name)
            if isinstance(here, str) and here != there and "{" not in here:
                english.add(here)
    assert len(english) > 400
    assert [one for one in english if " " in one and json.dumps(one)[1:-1] in text] == []


def broken_header(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(data)
    read_passport(path)


LONG = "x" * 20_000
WRONG: dict[str, Callable[[Path], object]] = {
    "a broken picture": lambda _: open_picture(b"\x89PNG\r\n\x1a\n" + bytes(40)),
    "text for a picture": lambda _: open_picture(b"hello"),
    "a pdf for a picture": lambda _: open_picture(b"%PDF-1.7 ..."),
    "an empty file": lambda _: read_table(b""),
    "a picture for a table": lambda _: read_table(b"\x89PNG\r\n\x1a\n" + bytes(40)),
    "a web page": lambda _: read_table(b"<!doctype html><html>"),
    "XML": lambda _: read_table(b"<?xml version='1.0'?><a/>"),
    "JSON that is cut": lambda _: read_table(b'[{"question": "a", '),
    "JSON with an end": lambda _: read_table(b'[{"question": "a", "answer": "b"}] and more'),
    "a broken zip": lambda _: read_table(b"PK\x03\x04" + bytes(60), "data.zip"),
    "unknown columns": lambda _: Layout("by hand", "a", "b").check(["left", "right"]),
    "a text that is too long": lambda _: Conversation().ask(LONG),
    "a broken adapter": lambda path: broken_header(b"\xff" * 100, path),
    "an adapter of nothing": lambda path: broken_header(b"", path),
    "steps out of range": lambda _: TrainingOptions(steps=10**9),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_chinese(what: str, tmp_path: Path) -> None:
    with pytest.raises(DemoError) as refused:
        WRONG[what](tmp_path)
    said = CHINESE.said(str(refused.value))
    assert re.search("[\u4e00-\u9fff]", said)
    assert not re.search(r"[A-Za-z]{3,} [a-z]{2,} [a-z]{2,}", said), said
