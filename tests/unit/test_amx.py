"""Products by matrix instructions against the same ones by vectors.

Where the processor has none, there is nothing to compare: only that they are not used is seen.
"""

import ctypes
import platform

import numba as nb
import numpy as np
import pytest

from demo.llama import amx, product_back
from demo.llama.amx import BOTH, DEPTH, SIDE, allowed, begin, end, fits, multiply_1, multiply_2
from demo.llama.prefill import Room, _swiglu
from demo.llama.product import NEAR, linear, norm_and_pack, scale_and_pack
from demo.llama.product_amx import swiglu_by_bytes
from demo.llama.tile import TOKENS

there = pytest.mark.skipif(not allowed(), reason="this processor has no AMX, or may not use it")
RANDOM = np.random.default_rng(0)
TILES = 3
COUNT = TILES * TOKENS - 5  # the last tile is not full
EPS = np.float32(1e-5)


@nb.njit
def products(weight, rows, packed, places, out):
    begin()
    multiply_2(weight, rows[0], rows[1], packed, places, out)
    end()


@nb.njit
def products_of_one(weight, rows, packed, places, out):
    begin()
    multiply_1(weight, rows[0], rows[1], packed, places, out)
    end()


def bytes_of(*shape: int) -> np.ndarray:
    return RANDOM.integers(-127, 128, shape).astype(np.int8)


def quads(x: np.ndarray) -> np.ndarray:
    """(4 Q, TOKENS) int8 → (Q, TOKENS) int32."""
    turned = np.ascontiguousarray(x.reshape(-1, 4, TOKENS).transpose(0, 2, 1))
    return turned.view(np.int32)[..., 0]


@there
def test_four_products_of_bytes():
    columns = 3 * DEPTH
    weight, planes = bytes_of(64, columns), bytes_of(2, columns, TOKENS)
    packed = np.concatenate([quads(plane) for plane in planes])
    out = np.ones((2, 2, SIDE, SIDE), np.int32)
    products(weight, (16, 48), packed, (0, SIDE, columns // 4, 0), out)
    rows = weight[16:32].astype(int), weight[48:].astype(int)
    tokens = planes[0][:, SIDE:], planes[1][:, :SIDE]
    for i, row in enumerate(rows):
        for j, some in enumerate(tokens):
            assert np.array_equal(out[i, j], row @ some)
    one = np.ones((2, 1, SIDE, SIDE), np.int32)
    products_of_one(weight, (16, 48), packed, (columns // 4, 0), one)
    assert np.array_equal(one[:, 0], out[:, 1])


@there
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("added", [False, True])
def test_a_product_is_the_one_by_vectors(threads, added):
    outputs, columns = 5 * BOTH, 2 * DEPTH
    weight, scale = bytes_of(outputs, columns), RANDOM.random(outputs, np.float32)
    x = RANDOM.standard_normal((TILES, columns, TOKENS)).astype(np.float32)
    x[0, :, 3] *= 1e4  # each token has a unit of its own
    before = RANDOM.standard_normal((TILES, outputs, TOKENS)).astype(np.float32)
    rooms, results = np.zeros((threads, NEAR), np.int16), []
    for way in (False, True):
        packed = np.zeros((TILES, columns // 2, TOKENS), np.int32)
        unit, y = np.zeros((TILES, TOKENS), np.float32), before.copy()
        weights = RANDOM.random(columns, np.float32) if not results else weights  # noqa: F821
        norm_and_pack(x, weights, EPS, COUNT, packed, unit, way, threads)
        given = y if added else y[:0]  # what is added may be what is written
        linear(weight, scale, packed, unit, rooms, way, COUNT, given, y, threads)
        results.append(y)
    assert np.allclose(*results, rtol=1e-5, atol=1e-4 * np.abs(results[0]).max(1).min())


@there
def test_gates_and_ups_are_those_by_vectors():
    size, columns = 3 * SIDE, DEPTH
    weight, scale = bytes_of(2 * size, columns), RANDOM.random(2 * size, np.float32) / 100
    x, ones = RANDOM.standard_normal((TILES, columns, TOKENS)).astype(np.float32), np.ones(columns)
    results = []
    for way in (False, True):
        packed = np.zeros((TILES, columns // 2, TOKENS), np.int32)
        unit, y = np.zeros((TILES, TOKENS), np.float32), np.zeros((TILES, size, TOKENS), np.float32)
        scale_and_pack(x, ones.astype(np.float32), COUNT, packed, unit, way, 2)
        if way:
            kept = np.zeros((TILES, 2 * size, TOKENS), np.uint16)
            swiglu_by_bytes(weight, scale, packed, unit, COUNT, kept, y, 2)
            swiglu_by_bytes(weight, scale, packed, unit, COUNT, kept[:0], again := y.copy(), 2)
            assert np.array_equal(again, y)
        else:
            none, rows = np.zeros((1, 1, TOKENS), np.float32), np.zeros((2, NEAR), np.int16)
            room = Room(x, x, x, y, packed, unit, rows, none, none, none, False)
            _swiglu(weight, scale, room, COUNT, y, 2)
        results.append(y)
    assert np.abs(results[0]).max() > 0.1
    assert np.allclose(*results, rtol=1e-5, atol=1e-6)
    gates, ups = np.split((kept.astype(np.uint32) << 16).view(np.float32), 2, axis=1)
    assert np.allclose(gates / (1 + np.exp(-gates)) * ups, results[1], rtol=2e-2, atol=1e-4)


@there
@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_back_is_the_one_by_vectors_bit_for_bit(threads):
    outputs, inputs = 3 * DEPTH, 5 * BOTH
    weight, scale = bytes_of(outputs, inputs), RANDOM.random(outputs, np.float32)
    x = RANDOM.standard_normal((TILES, outputs, TOKENS)).astype(np.float32)
    packed = np.zeros((TILES, outputs // 4, TOKENS), np.int32)
    unit, first = np.zeros((TILES, TOKENS), np.float32), np.zeros((TILES, TOKENS), np.int32)
    product_back.pack_all_slopes(x, scale, COUNT, packed, unit, first, threads)
    rooms, results = np.zeros((threads, NEAR), np.int16), []
    for way in (False, True):
        y = np.zeros((TILES, inputs, TOKENS), np.float32)
        product_back.linear_back(weight, packed, unit, first, rooms, way, COUNT, y, threads)
        results.append(y)
    assert np.array_equal(*results)


def test_sizes_with_a_rest_are_left_to_vectors():
    assert fits(64, 576, 3072)
    assert not fits(64, 96)
    assert not fits(0)


@pytest.mark.parametrize("reason", ["another system", "another processor", "refused"])
def test_it_is_not_used_where_it_may_not_be(reason, monkeypatch):
    class Refusing:
        @staticmethod
        def syscall(*numbers: int) -> int:
            assert numbers == (158, 0x1023, 18)
            return -1

    monkeypatch.setattr(amx, "_there", lambda: reason != "another processor")
    system = "Darwin" if reason == "another system" else "Linux"
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Refusing)
    assert not allowed()
