"""Fixed-point functions against real arithmetic, packed weights against the plain product."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsearch.codegen import fixed_point as fp
from hwsearch.codegen import packing
from hwsearch.codegen.calls16 import sigmoid_table, steps_table


@given(st.floats(1e-8, 1e8))
def test_multiplier_is_within_half_a_unit(real: float) -> None:
    mantissa, shift = fp.quantize_multiplier(real)
    assert 2**30 <= mantissa < 2**31
    assert mantissa * 2.0 ** (shift - 31) == pytest.approx(real, rel=2**-31)


@given(st.integers(-(2**27), 2**27), st.floats(1e-6, 4.0))
def test_requantize_is_within_one(x: int, real: float) -> None:
    assert abs(fp.requantize(x, *fp.quantize_multiplier(real)) - x * real) <= 1


@given(st.integers(-(2**31), -1))
def test_exp_and_logistic_against_floats(a: int) -> None:
    real = a / 2**27
    assert fp.exp_negative(a, 4) / 2**31 == pytest.approx(math.exp(real), abs=3e-7)
    assert fp.logistic(a, 4) / 2**31 == pytest.approx(1 / (1 + math.exp(-real)), abs=3e-7)
    assert fp.tanh(a, 4) / 2**31 == pytest.approx(math.tanh(real), abs=3e-7)


def test_tables_are_near_their_functions() -> None:
    sigmoid = 65536 / (1 + np.exp(-np.arange(256) / 24))
    assert np.abs(sigmoid_table() - sigmoid).max() <= 1.6
    exps = 32768 * np.exp(np.linspace(-10, 0, 513))
    assert np.abs(steps_table(np.exp, -10.0, 0.0) - np.minimum(exps, 32767)).max() <= 2


@given(
    st.integers(1, 7), st.integers(1, 9), st.sampled_from([1, 3, 4, 8]), st.sampled_from([8, 4]),
    st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_packed_weights_give_the_plain_product(
    channels: int, taps: int, depth: int, bits: int, permute: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    top = 2 ** (bits - 1)
    weights = rng.integers(-top, top, (channels, taps * depth)).astype(np.int8)
    x = rng.integers(-128, 128, taps * depth)
    packed = packing.pack(weights, depth, bits, permute)
    places = packing.order(taps * depth, depth if permute else 1, bits)
    patch = np.where(places >= 0, x[places], 99)  # padding must not matter
    if bits == 4:
        raw = packed.view(np.uint8).reshape(-1, 4)
        both = np.stack([raw << 4, raw & 0xF0], 1).view(np.int8) >> 4
        packed = both.reshape(-1)
    groups = packed.reshape(-1, len(places) // 2, 2, 2).astype(np.int64)
    sums = np.einsum("pgkc,gk->pc", groups, patch.reshape(-1, 2)).reshape(-1)[:channels]
    assert (sums == weights.astype(np.int64) @ x).all()
