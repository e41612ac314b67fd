"""`bench page`: the chats it writes are chats, and what it needs and is missing is said."""

import argparse
import shutil
import sys
from pathlib import Path

import pytest

from demo.bench import page
from demo.chat.kept import KeptChats

OWNER = "o" * 12


def test_the_chats_it_writes_are_a_visitors_own(tmp_path: Path) -> None:
    long = page.keep(tmp_path / OWNER, page.conversation(page.TURNS, page.PICTURES), 0)
    names = {page.keep(tmp_path / OWNER, page.conversation(1, 0), number) for number in range(3)}
    kept = KeptChats(tmp_path, megabytes=100, days=30)
    assert len(names) == 3
    assert kept.chats(OWNER)[1] == 4
    opened = kept.open(OWNER, long)
    assert len(opened.turns) == page.TURNS
    assert sum(turn.picture is not None for turn in opened.turns) == page.PICTURES
    assert opened.turns[-1].reply.endswith(f"That was answer {page.TURNS}.")


@pytest.mark.parametrize(("runs", "chats"), [(0, 5), (1, 0), (1, 2_001)])
def test_numbers_without_sense_are_refused(runs: int, chats: int) -> None:
    with pytest.raises(SystemExit, match="Please use --runs from 1"):
        page.run_page(argparse.Namespace(runs=runs, chats=chats))


def test_a_missing_playwright_or_browser_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    args = argparse.Namespace(runs=1, chats=1)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="no Chromium"):
        page.run_page(args)
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(SystemExit, match="pip install playwright"):
        page.run_page(args)
