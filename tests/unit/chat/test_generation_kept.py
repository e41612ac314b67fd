"""What a conversation leaves in its KV cache, and when it may be used again.

Conversation, replies, library, scheduler and decoder are the real ones, on a small random LLaMA.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from demo.adapter.library import Library
from demo.background_task import PauseSwitch
from demo.chat.conversation import Conversation
from demo.chat.generation import ReplyWriter
from demo.errors import InputError
from demo.llama.base import Base
from demo.model_loading import kept_slots
from demo.settings import Sampling, Settings
from demo.vision.image import Picture
from tests.small import WINDOW, RecordingDecoder, SmallTower, save_small, small_language

pytestmark = pytest.mark.compiles

SHORT = Sampling(max_new_tokens=6)


def ready(value: object) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future


@pytest.fixture
def chat(base: Base, tmp_path: Path) -> Iterator[tuple[ReplyWriter, RecordingDecoder]]:
    for seed, name in enumerate(("one", "two")):
        save_small(tmp_path, base, name, seed)
    save_small(tmp_path, base, "seer", 2, sees=True)
    language, decoder = small_language(base, places=2)
    settings = Settings(context=WINDOW, adapters=tmp_path)
    waiting = lambda: ("Loading", None)  # noqa: E731
    library, pause = Library(tmp_path), PauseSwitch()
    writer = ReplyWriter(settings, library, ready(language), ready(SmallTower()), waiting, pause)
    yield writer, decoder
    language.scheduler.close()


@pytest.fixture
def computed(chat: tuple[ReplyWriter, RecordingDecoder]) -> Callable[..., tuple[int, int]]:
    """Answers a conversation's last turn: how many tokens were kept, how many were computed."""
    replies, decoder = chat

    def answer(conversation: Conversation, adapter: str = "one") -> tuple[int, int]:
        before = len(decoder.prefills)
        list(replies.write(conversation, adapter=adapter, sampling=SHORT))
        parts = decoder.prefills[before:]
        return parts[0][0], sum(count for _, count in parts)

    return answer


@pytest.fixture
def told(computed: Callable[..., tuple[int, int]]) -> Conversation:
    """A conversation of two answered turns."""
    conversation = Conversation()
    for text in ("the quick brown fox", "jumps over the lazy dog"):
        conversation.ask(text)
        computed(conversation)
    return conversation


def size(conversation: Conversation) -> int:
    return conversation.turns[-1].stats.prompt_tokens


def test_a_next_turn_computes_only_what_is_new(told, computed):
    known = size(told)
    told.ask("and says hello")
    kept, new = computed(told)
    assert kept >= known  # the prompt of the turn before, and what of the reply reads the same
    assert kept + new == size(told)


def test_a_retry_computes_one_token(told, computed):
    told.retry()
    assert computed(told) == (size(told) - 1, 1)


def test_an_edit_continues_from_where_the_words_part(told, computed, base):
    first = told.turns[0].text
    told.edit(1, "jumps over 12 other animals")
    kept, new = computed(told)
    assert 0 < len(base.tokenizer.encode_text(first)) < kept < size(told)
    assert kept + new == size(told)
    told.edit(0, "says hello")
    assert computed(told)[0] < kept


def test_undo_keeps_the_turns_before(told, computed):
    told.undo()
    earlier = size(told)
    told.ask("says hello to the fox")
    assert computed(told)[0] >= earlier


def test_another_adapter_is_noticed_and_the_first_is_not_taken_for_it(told, computed):
    for adapter in ("two", "none", "one"):
        told.retry()
        assert computed(told, adapter) == (0, size(told))
    told.retry()
    assert computed(told)[1] == 1


def test_another_picture_is_noticed(told, computed):
    for shade, adapter in itertools.product((0, 255), ("seer", "auto")):
        told.ask("what is it", Picture(np.full((4, 4, 3), shade, np.uint8)))
        kept, _ = computed(told, adapter)
        assert (kept == 0) == (adapter == "seer")  # auto chooses the same adapter again
    told.remove_picture()
    told.ask("and now")
    assert computed(told, "seer")[0] == 0


@pytest.mark.matrix("D8")
def test_a_replaced_adapter_file_is_noticed(told, computed, base, chat, tmp_path):
    save_small(tmp_path, base, "one", 7)
    told.retry()
    assert computed(told) == (0, size(told))


def test_keeping_does_not_change_what_is_said(told, computed):
    fresh = Conversation()
    fresh.ask(told.turns[0].text)
    computed(fresh)
    fresh.ask(told.turns[1].text)
    computed(fresh)
    whole = [turn.reply for turn in told.turns]
    assert [turn.reply for turn in fresh.turns] == whole
    told.retry()
    computed(told, "two")  # overwrites what was kept
    told.retry()
    computed(told)
    assert [turn.reply for turn in told.turns] == whole


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize(("megabytes", "context"), [(16, 64), (64, 4096), (100, 32_768)])
def test_the_memory_bound_is_kept(base: Base, megabytes: int, context: int, bits: int) -> None:
    config, settings = base.config, Settings(kv_mb=megabytes, context=context, kv_bits=bits)
    token = 2 * bits // 8 * config.layers * config.kv_heads * config.head_dim
    count = kept_slots(config, settings)
    assert 1 <= count <= 64
    assert count * context * token <= megabytes * 2**20
    assert count == 64 or (count + 1) * context * token > megabytes * 2**20


def test_a_bound_below_one_conversation_is_refused_with_what_it_needs(base: Base) -> None:
    with pytest.raises(InputError, match=r"65,536 tokens needs 15 MB and --kv-mb allows 8"):
        kept_slots(base.config, Settings(kv_mb=8, context=65_536, llama=None))
