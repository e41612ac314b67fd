"""Settings and sampling: what is out of range is named in one sentence, what fits is converted."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from demo.errors import InputError
from demo.settings import Sampling, Settings, available_cores


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("device", "tpu", "device is 'tpu'; please use one of auto, cpu, cuda."),
        ("threads", 0, "threads is 0; please use 1 to 256."),
        ("threads", "many", "threads is 'many'; please use a whole number."),
        ("context", 63, "context is 63; please use 64 to 131072."),
        ("kv_mb", 1_000_001, "kv mb is 1000001; please use 0 to 1000000."),
        ("kv_bits", 8, "kv bits is 8; please use one of 16, 32."),
        ("reply_seconds", 0, "reply seconds is 0; please use above 0."),
        ("reply_seconds", math.nan, "reply seconds is nan; please use above 0."),
        ("training", "maybe", "training is 'maybe'; please use yes or no."),
        ("runs", 3, "runs is 3; please use text."),
    ],
)
def test_a_wrong_setting_is_named(field: str, value: object, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings(**{field: value})
    assert str(caught.value) == expected
    assert caught.value.__context__ is None


def test_what_fits_is_kept() -> None:
    assert Settings(reply_seconds=math.inf).reply_seconds == math.inf
    assert replace(Settings(), adapters="a folder").adapters == Path("a folder")
    assert 1 <= Settings().threads == available_cores()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("temperature", 3, "temperature is 3; please use 0 to 2."),
        ("temperature", -1, "temperature is -1; please use 0 to 2."),
        ("temperature", math.nan, "temperature is nan; please use a number."),
        ("max_new_tokens", 10**9, "max new tokens is 1000000000; please use 1 to 4096."),
        ("seed", -1, "seed is -1; please use 0 to 4294967295."),
        ("seed", True, "seed is True; please use a whole number."),
        ("seed", None, "seed is None; please use a whole number."),
        ("repetition_penalty", 3, "repetition penalty is 3; please use 1 to 2."),
        ("temperature", True, "temperature is True; please use a number."),
        ("temperature", "0.5", "temperature is '0.5'; please use a number."),
        ("temperature", math.inf, "temperature is inf; please use a number."),
        ("top_p", 0, "top p is 0; please use above 0, up to 1."),
        ("top_p", None, "top p is None; please use a number."),
        ("top_k", 2.5, "top k is 2.5; please use a whole number."),
        ("top_k", math.inf, "top k is inf; please use a whole number."),
        ("repetition_penalty", 0.5, "repetition penalty is 0.5; please use 1 to 2."),
        ("max_new_tokens", 0, "max new tokens is 0; please use 1 to 4096."),
        ("seed", 2**32, "seed is 4294967296; please use 0 to 4294967295."),
        ("strength", -1, "strength is -1; please use 0 to 2."),
    ],
)
@pytest.mark.matrix("E3")
def test_a_wrong_sampling_is_named(field: str, value: object, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Sampling(**{field: value})
    assert str(caught.value) == expected


def test_the_page_passes_sampling_by_position() -> None:
    sampling = Sampling(1, 0.5, 2.0)
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (1.0, 0.5, 2)
    assert (type(sampling.temperature), type(sampling.top_k)) == (float, int)
    with pytest.raises(InputError, match="top k is 2.5"):
        Sampling(1, 0.5, 2.5)


def test_whole_numbers_may_come_as_floats() -> None:
    sampling = Sampling(max_new_tokens=64.0, seed=3.0)
    assert (sampling.max_new_tokens, sampling.seed) == (64, 3)
    assert (type(sampling.max_new_tokens), type(sampling.seed)) == (int, int)


def test_a_field_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="Settings has no colour"):
        Settings(colour="red")
