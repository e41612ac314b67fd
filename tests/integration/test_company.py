"""Eight at once on the embedded base, each with an adapter or none: company changes nothing."""

from collections.abc import Iterator, Sequence

import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec
from demo.chat.scheduler import Engine, GenerationRequest
from demo.llama.tokenizer.chat_template import Message
from demo.model_loading import load_language
from demo.settings import Sampling, Settings

QUESTIONS = (
    "Why is the sky blue?",
    "Write a story about a lighthouse. " * 12,
    "Name three animals.",
    "What is the capital of France?",
)


@pytest.fixture(scope="module")
def language() -> Iterator[Engine]:
    loaded = load_language(Settings(device="cpu"), lambda message, share: None)
    yield loaded
    loaded.scheduler.close()


def request(language: Engine, number: int) -> GenerationRequest:
    """Eight of them: every question with an adapter of its own and without."""
    config, tokenizer = language.base.config, language.base.tokenizer
    torch.manual_seed(number)
    adapter = Adapter(AdapterSpec.for_base(config, layers=config.layers, prompts=10))
    torch.nn.init.constant_(adapter.gate, 0.1)
    prefix = adapter.fixed_prefix(language.model) if number % 2 else None
    ids = tokenizer.chat([Message("user", QUESTIONS[number // 2])])
    return GenerationRequest(
        ids, prefix, object(), object(), Sampling(), tokenizer.stop_ids, 12, 60.0
    )


def written(language: Engine, numbers: Sequence[int]) -> list[list[int]]:
    streams = [language.scheduler.submit(request(language, number)) for number in numbers]
    for stream in streams:
        while not stream.done:
            stream.wait(len(stream.ids), 5)
        assert stream.error is None
    return [stream.ids for stream in streams]


@pytest.mark.matrix("D7")
def test_greedy_text_with_seven_others_is_the_solo_text(language: Engine) -> None:
    alone = [written(language, [number])[0] for number in range(8)]
    assert written(language, range(8)) == alone
    assert len({tuple(ids) for ids in alone}) == 8
