"""Replies that are written side by side, through the real decoder on a small random LLaMA."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.chat.scheduler import Engine, GenerationRequest
from demo.llama.base import open_base
from demo.settings import Sampling
from tests.small import RecordingDecoder, small_adapter, small_language

pytestmark = pytest.mark.compiles

TOKENS = 30
LENGTHS = (5, 300, 17, 1, 40, 270, 8, 64)  # two of them are computed in slices
DRAWN = Sampling(temperature=1.0, top_k=20, seed=3, repetition_penalty=1.2)


@pytest.fixture(scope="module")
def small(
    tiny_llama_folder: Callable[..., Path], no_progress, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Engine, RecordingDecoder]]:
    base = open_base(str(tiny_llama_folder()), tmp_path_factory.mktemp("cache"), no_progress)
    language, decoder = small_language(base, places=8)
    yield language, decoder
    language.scheduler.close()


def request(language: Engine, number: int) -> GenerationRequest:
    """The same for the same number, but nothing is kept between two of them."""
    adapter = small_adapter(language.base, number)
    prefix = adapter.fixed_prefix(language.model) if number % 4 else None
    ids = [(7 * place + number) % language.base.config.vocab for place in range(LENGTHS[number])]
    sampling = DRAWN if number == 6 else Sampling()
    return GenerationRequest(ids, prefix, object(), object(), sampling, frozenset(), TOKENS, 60.0)


@pytest.mark.matrix("D7", "E11")
def test_a_reply_is_the_same_alone_and_with_seven_others(small):
    language, decoder = small

    def written(numbers: range) -> list[list[int]]:
        streams = [language.scheduler.submit(request(language, number)) for number in numbers]
        for stream in streams:
            while not stream.done:
                stream.wait(len(stream.ids), 5)
            assert stream.stopped == "length", stream.error
        return [stream.ids for stream in streams]

    alone = [written(range(number, number + 1))[0] for number in range(8)]
    before = len(decoder.prefills)
    together = written(range(8))
    assert together == alone
    assert len({tuple(ids) for ids in alone}) == 8
    assert {(0, 256), (256, 44), (256, 14)} < set(decoder.prefills[before:])
