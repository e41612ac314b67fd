"""Products by matrix instructions against the same ones by vectors.

Where the processor has none, there is nothing to compare: only that they are not used is seen.
"""

import ctypes
import platform

import numba as nb
import numpy as np
import pytest

from demo.llama.kernels import compile as compiling
from demo.llama.kernels.amx import (
    TILE_COLUMNS,
    TILE_PAIR,
    TILE_ROWS,
    configure_tiles,
    multiply_1,
    multiply_2,
    release_tiles,
)
from demo.llama.kernels.compile import request_amx
from demo.llama.kernels.gemm import (
    L2_WEIGHTS,
    QuantisedGradients,
    QuantisedTiles,
    gemm,
    gemm_backward,
    gemm_swiglu_amx,
    norm_and_quantise,
    quantise_gradients,
    scale_and_quantise,
)
from demo.llama.kernels.int8_tile import TOKENS
from demo.llama.kernels.prefill import gemm_swiglu
from demo.llama.model import whole_tiles

pytestmark = pytest.mark.compiles

there = pytest.mark.skipif(not request_amx(), reason="this processor has no AMX, or may not use it")
RANDOM = np.random.default_rng(0)
TILES = 3
COUNT = TILES * TOKENS - 5  # the last tile is not full
EPS = np.float32(1e-5)


@nb.njit
def products(weight, rows, packed, places, out):
    configure_tiles()
    multiply_2(weight, rows[0], rows[1], packed, places, out)
    release_tiles()


@nb.njit
def products_of_one(weight, rows, packed, places, out):
    configure_tiles()
    multiply_1(weight, rows[0], rows[1], packed, places, out)
    release_tiles()


def bytes_of(*shape: int) -> np.ndarray:
    return RANDOM.integers(-127, 128, shape).astype(np.int8)


def quads(x: np.ndarray) -> np.ndarray:
    """(4 Q, TOKENS) int8 → (Q, TOKENS) int32."""
    turned = np.ascontiguousarray(x.reshape(-1, 4, TOKENS).transpose(0, 2, 1))
    return turned.view(np.int32)[..., 0]


def tiles_for(columns: int, threads: int, amx: bool) -> QuantisedTiles:
    return QuantisedTiles(
        np.zeros((TILES, columns // 2, TOKENS), np.int32),
        np.zeros((TILES, TOKENS), np.float32),
        np.zeros((threads, L2_WEIGHTS), np.int16),
        amx,
    )


@there
def test_four_products_of_bytes():
    columns = 3 * TILE_COLUMNS
    weight, planes = bytes_of(64, columns), bytes_of(2, columns, TOKENS)
    packed = np.concatenate([quads(plane) for plane in planes])
    out = np.ones((2, 2, TILE_ROWS, TILE_ROWS), np.int32)
    products(weight, (16, 48), packed, (0, TILE_ROWS, columns // 4, 0), out)
    rows = weight[16:32].astype(int), weight[48:].astype(int)
    tokens = planes[0][:, TILE_ROWS:], planes[1][:, :TILE_ROWS]
    for i, row in enumerate(rows):
        for j, some in enumerate(tokens):
            assert np.array_equal(out[i, j], row @ some)
    one = np.ones((2, 1, TILE_ROWS, TILE_ROWS), np.int32)
    products_of_one(weight, (16, 48), packed, (columns // 4, 0), one)
    assert np.array_equal(one[:, 0], out[:, 1])


@there
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("added", [False, True])
def test_a_product_is_the_one_by_vectors(threads, added):
    outputs, columns = 5 * TILE_PAIR, 2 * TILE_COLUMNS
    weight, scale = bytes_of(outputs, columns), RANDOM.random(outputs, np.float32)
    x = RANDOM.standard_normal((TILES, columns, TOKENS)).astype(np.float32)
    x[0, :, 3] *= 1e4  # each token has a scale of its own
    before = RANDOM.standard_normal((TILES, outputs, TOKENS)).astype(np.float32)
    norm, results = RANDOM.random(columns, np.float32), []
    for way in (False, True):
        qx, y = tiles_for(columns, threads, way), before.copy()
        norm_and_quantise(x, norm, EPS, COUNT, qx, threads)
        given = y if added else y[:0]  # what is added may be what is written
        gemm(weight, scale, qx, COUNT, given, y, threads)
        results.append(y)
    assert np.allclose(*results, rtol=1e-5, atol=1e-4 * np.abs(results[0]).max(1).min())


@there
def test_gates_and_ups_are_those_by_vectors():
    size, columns = 3 * TILE_ROWS, TILE_COLUMNS
    weight, scale = bytes_of(2 * size, columns), RANDOM.random(2 * size, np.float32) / 100
    x, ones = RANDOM.standard_normal((TILES, columns, TOKENS)).astype(np.float32), np.ones(columns)
    results = []
    for way in (False, True):
        qx, y = tiles_for(columns, 2, way), np.zeros((TILES, size, TOKENS), np.float32)
        scale_and_quantise(x, ones.astype(np.float32), COUNT, qx, 2)
        if way:
            kept = np.zeros((TILES, 2 * size, TOKENS), np.uint16)
            gemm_swiglu_amx(weight, scale, qx.packed, qx.scale, COUNT, kept, y, 2)
            gemm_swiglu_amx(
                weight, scale, qx.packed, qx.scale, COUNT, kept[:0], again := y.copy(), 2
            )
            assert np.array_equal(again, y)
        else:
            gemm_swiglu(weight, scale, qx, COUNT, y, 2)
        results.append(y)
    assert np.abs(results[0]).max() > 0.1
    assert np.allclose(*results, rtol=1e-5, atol=1e-6)
    gates, ups = np.split((kept.astype(np.uint32) << 16).view(np.float32), 2, axis=1)
    assert np.allclose(gates / (1 + np.exp(-gates)) * ups, results[1], rtol=2e-2, atol=1e-4)


@there
@pytest.mark.parametrize("threads", [1, 2])
def test_a_backward_product_is_the_one_by_vectors_bit_for_bit(threads):
    outputs, inputs = 3 * TILE_COLUMNS, 5 * TILE_PAIR
    weight, scale = bytes_of(outputs, inputs), RANDOM.random(outputs, np.float32)
    x = RANDOM.standard_normal((TILES, outputs, TOKENS)).astype(np.float32)
    results = []
    for way in (False, True):
        qg = QuantisedGradients(
            np.zeros((TILES, outputs // 4, TOKENS), np.int32),
            np.zeros((TILES, TOKENS), np.float32),
            np.zeros((TILES, TOKENS), np.int32),
            np.zeros((threads, L2_WEIGHTS), np.int16),
            way,
        )
        quantise_gradients(x, scale, COUNT, qg, threads)
        y = np.zeros((TILES, inputs, TOKENS), np.float32)
        gemm_backward(weight, qg, COUNT, y, threads)
        results.append(y)
    assert np.array_equal(*results)


def test_sizes_with_a_rest_are_left_to_vectors():
    assert whole_tiles(64, 576, 3072)
    assert not whole_tiles(64, 96)
    assert not whole_tiles(0)


@pytest.mark.parametrize("reason", ["another system", "another processor", "refused"])
def test_it_is_not_used_where_it_may_not_be(reason, monkeypatch):
    class Refusing:
        @staticmethod
        def syscall(*numbers: int) -> int:
            assert numbers == (158, 0x1023, 18)
            return -1

    monkeypatch.setattr(compiling, "_has_amx", lambda: reason != "another processor")
    system = "Darwin" if reason == "another system" else "Linux"
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Refusing)
    assert not request_amx()
