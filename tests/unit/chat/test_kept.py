"""Chats on the disk: all of a chat comes back, to its owner alone, and room is bounded."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demo.chat import kept as kept_module
from demo.chat.conversation import Conversation, ReplyStats
from demo.chat.kept import KeptChats
from demo.errors import InputError
from demo.vision.image import Picture
from demo.vision.video import Video

STATS = ReplyStats("sight", False, 9, 3, 0.1, 50.0, "end")
ADA, ALAN = "a" * 32, "b" * 32
TYPED = (
    "    print $1, $HOME$ and $x$, ${A}/${B}\n```sh\n  sed 's/^$/x/'\n```\n\ttab é 漢 <b> \\(x\\)"
)


@pytest.fixture
def chats(tmp_path: Path) -> KeptChats:
    return KeptChats(tmp_path / "chats", megabytes=16, days=30)


def again(chats: KeptChats) -> KeptChats:
    """The same folder after a restart."""
    return KeptChats(chats._folder, megabytes=16, days=30)


def talk(chats: KeptChats, owner: str = ADA, text: str = "hello", picture=None) -> Conversation:
    conversation = Conversation()
    chats.adopt(owner, conversation)
    conversation.ask(text, picture)
    conversation.begin()
    conversation.finish(f"reply to {text}", STATS)
    return conversation


def picture(shade: int) -> Picture:
    return Picture(np.full((20, 30, 3), shade, np.uint8))


def test_a_chat_comes_back_whole_after_a_restart(chats: KeptChats) -> None:
    conversation = talk(chats, text=TYPED, picture=picture(200))
    conversation.set_system("Be brief.")
    conversation.retry()
    conversation.begin()
    conversation.finish("another", replace(STATS, stopped="length"))
    video = Video(tuple(map(picture, (0, 100, 200))), (0.5, 1.5, 2.5), 3.0)
    conversation.ask("a film", video)
    conversation.begin()
    conversation.finish("seen", None)
    conversation.like(1, True)
    conversation.correct(0, "  as I say\n")
    there = again(chats).open(ADA, conversation.id)
    assert there.turns[0].text == TYPED and there.system == "Be brief."
    assert [turn.reply for turn in there.versions(0)] == [f"reply to {TYPED}", "  as I say\n"]
    assert there.turns[0].corrected and there.turns[1].liked
    assert there.turns[0].stats == replace(STATS, stopped="length")
    seen = there.turns[1].picture
    assert isinstance(seen, Video) and seen.seconds == video.seconds and len(seen.frames) == 3
    assert there.picture is seen
    there.ask("more")  # opened again, a picture is not written again
    assert len(list((chats._folder / ADA / there.id).glob("*.webp"))) == 3


def test_a_question_is_kept_before_its_reply(chats: KeptChats) -> None:
    conversation = Conversation()
    chats.adopt(ADA, conversation)
    assert chats.chats(ADA) == ([], 0)  # nothing was said yet
    conversation.ask("never answered")
    conversation.begin()
    there = again(chats).open(ADA, conversation.id)
    assert [(turn.text, turn.reply) for turn in there.turns] == [("never answered", "")]


def test_tabs_share_a_chat_and_others_have_none_of_it(chats: KeptChats) -> None:
    mine = talk(chats)
    assert chats.open(ADA, mine.id) is mine
    for owner, chat in (
        (ALAN, mine.id),
        (ADA, "../" + mine.id),
        ("../x", mine.id),
        (ADA, "0" * 12),
    ):
        with pytest.raises(InputError, match="This chat is not here"):
            chats.open(owner, chat)
    assert chats.chats(ALAN) == ([], 0)


def test_the_list_is_by_time_and_search_looks_inside(chats: KeptChats) -> None:
    first = talk(chats, text="Where is\nthe Lighthouse?")
    second = talk(chats, text="windmill", picture=picture(3))
    os.utime(chats._folder / ADA / first.id / "chat.json", (1, 1))
    found, count = chats.chats(ADA)
    assert count == 2
    assert [(c.id, c.title, c.pictures) for c in found] == [
        (second.id, "windmill", 1),
        (first.id, "Where is the Lighthouse?", 0),
    ]
    assert [c.id for c in chats.chats(ADA, "reply LIGHT")[0]] == [first.id]
    chats.rename(ADA, first.id, "  my   name ")
    assert chats.chats(ADA)[0][0].title == "my name"
    assert again(chats).open(ADA, first.id).title == "my name"


def test_delete_is_for_good_and_delete_all_is_one_owners(chats: KeptChats) -> None:
    one, other, alans = talk(chats), talk(chats), talk(chats, ALAN)
    chats.delete(ADA, one.id)
    one.ask("is it kept?")  # on a page that still shows it
    assert [c.id for c in chats.chats(ADA)[0]] == [other.id]
    chats.delete_all(ADA)
    assert list((chats._folder / ADA).iterdir()) == []
    assert [c.id for c in chats.chats(ALAN)[0]] == [alans.id]


def test_count_bytes_and_age_are_bounded(chats: KeptChats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "CHATS_AN_OWNER", 2)
    talks = [talk(chats, text=str(number)) for number in range(3)]
    assert chats.chats(ADA)[1] == 2
    old = chats._folder / ADA / talks[1].id / "chat.json"
    os.utime(old, (1, 1))
    chats.sweep()
    assert [c.id for c in chats.chats(ADA)[0]] == [talks[2].id]
    chats._bytes = 10
    chats.sweep(now=time.time() + 2 * 3600)
    assert chats.chats(ADA) == ([], 0)


@pytest.mark.matrix("D13")
def test_what_kills_have_left_is_swept_and_what_is_not_ours_stays(chats: KeptChats) -> None:
    mine = talk(chats, picture=picture(3))
    folder = chats._folder / ADA
    half, part = folder / ".0123456789ab.01234567", folder / mine.id / ".x.webp.01234567.part"
    foreign = chats._folder / "lost+found" / "0123456789ab"
    notes = folder / "notes"
    for place in (half, foreign, notes):
        place.mkdir(parents=True)
    for file in (half / "chat.json", part, foreign / "x", notes / "x"):
        file.write_text("x")
        os.utime(file, (1, 1))
    chats.sweep()
    assert not half.exists() and not part.exists()
    assert (foreign / "x").exists() and (notes / "x").exists()
    assert again(chats).open(ADA, mine.id).turns


def test_a_damaged_file_is_said_to_be_and_a_full_disk_costs_no_reply(
    chats: KeptChats, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = talk(chats)
    file = chats._folder / ADA / conversation.id / "chat.json"
    for damaged in ("{", '{"format": 1}', json.dumps({"format": 9})):
        file.write_text(damaged)
        with pytest.raises(InputError, match="can no longer be read"):
            again(chats).open(ADA, conversation.id)
        assert again(chats).chats(ADA)[0] == []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_module, "write_chat", full)
    conversation.ask("still answered")
    assert conversation.turns[-1].text == "still answered"


def test_switched_off_nothing_is_written(tmp_path: Path) -> None:
    chats = KeptChats(None, megabytes=16, days=30)
    conversation = talk(chats)
    assert conversation.id == "" and not chats.on
    assert chats.chats(ADA) == ([], 0)
    chats.sweep()
