import numpy as np
import pytest

from demo.chat.sampling import candidates, choose, penalised
from demo.errors import InputError
from demo.settings import Sampling

LOGITS = np.array([1.0, 3.0, 2.0, -1.0, 0.0], np.float32)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_temperature_zero_takes_the_largest():
    assert choose(LOGITS, [], Sampling(), generator()) == 1


def test_the_penalty_weakens_what_was_seen_on_either_side_of_zero():
    weaker = penalised(LOGITS, np.array([1, 1, 3]), 2.0)
    assert weaker.tolist() == [1.0, 1.5, 2.0, -2.0, 0.0]
    assert LOGITS[1] == 3.0  # the caller's logits stay
    assert choose(LOGITS, np.array([1]), Sampling(repetition_penalty=2.0), generator()) == 2


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(temperature=1), [1, 2, 0, 4, 3]),
        (Sampling(temperature=1, top_k=2), [1, 2]),
        (Sampling(temperature=1, top_p=0.6), [1]),
        (Sampling(temperature=1, top_p=0.7), [1, 2]),
        (Sampling(temperature=1, top_k=3, top_p=1.0), [1, 2, 0]),
        (Sampling(temperature=0.01, top_p=1e-6), [1]),
    ],
)
def test_which_tokens_may_be_drawn(sampling, kept):
    ids, probability = candidates(LOGITS, sampling)
    assert ids.tolist() == kept
    assert probability.sum() == pytest.approx(1)


def test_draws_follow_the_probabilities():
    ids, probability = candidates(LOGITS, Sampling(temperature=1))
    random = generator()
    drawn = [choose(LOGITS, [], Sampling(temperature=1), random) for _ in range(4000)]
    for token, share in zip(ids, probability, strict=True):
        assert drawn.count(token) / 4000 == pytest.approx(share, abs=0.03)


def test_a_seed_decides_the_draws():
    draws = [
        [choose(LOGITS, [], Sampling(temperature=1.5), random) for _ in range(20)]
        for random in (np.random.default_rng(7), np.random.default_rng(7))
    ]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("temperature", -1, "0 to 2"),
        ("temperature", float("nan"), "a number"),
        ("temperature", "hot", "a number"),
        ("top_p", 0, "above 0, up to 1"),
        ("top_k", 1.5, "a whole number"),
        ("repetition_penalty", 3, "1 to 2"),
        ("max_new_tokens", 0, "1 to 4096"),
        ("max_new_tokens", 10**9, "1 to 4096"),
        ("seed", -1, "0 to 4294967295"),
        ("seed", True, "a whole number"),
        ("seed", None, "a whole number"),
    ],
)
def test_settings_out_of_range_are_named(field, value, expected):
    with pytest.raises(InputError, match=f"{field.replace('_', ' ')} is .*{expected}"):
        Sampling(**{field: value})


def test_whole_numbers_may_come_as_floats():
    assert Sampling(max_new_tokens=64.0, seed=3.0).max_new_tokens == 64
