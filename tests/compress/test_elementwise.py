"""Zeros and shared values on arrays: as many as asked for, the ones that lose least, and again."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import keras
import networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsearch import estimation
from hwsearch.backends import backend
from hwsearch.board import board
from hwsearch.codegen.formats import counted
from hwsearch.compress.elementwise import (
    CODES,
    Elementwise,
    codebook,
    kernels,
    lamp,
    mask,
    project,
    projected,
    scales,
    spread,
    untreated,
)
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.conversion import priced
from hwsearch.convert import to_float_tflite
from hwsearch.cost.columns import Columns
from hwsearch.graph import tflite
from hwsearch.space import Space

shapes = st.sampled_from([(7, 5), (3, 3, 4, 6), (1, 1, 1, 8), (5, 2, 3), (64, 10)])


def weights(shape: tuple[int, ...], seed: int):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def codes(found) -> np.ndarray:
    return np.rint(found / scales(found) * CODES).astype(int)


@given(shapes, st.floats(0, 0.99), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_the_smallest_go(shape, sparsity: float, seed: int) -> None:
    w = weights(shape, seed)
    kept = mask(w, sparsity)
    rows = np.abs(w).reshape(-1, shape[-1])
    largest = np.zeros(rows.shape, bool)
    largest[rows.argmax(axis=0), np.arange(shape[-1])] = True
    assert (~kept).sum() == min(round(sparsity * w.size), w.size - shape[-1])
    assert kept[largest.reshape(shape)].all(), "a channel has nothing left"
    others = kept & ~largest.reshape(shape)
    if not kept.all() and others.any():
        assert np.abs(w[~kept]).max() <= np.abs(w[others]).min()


@given(st.lists(shapes, min_size=1, max_size=4), st.floats(0, 0.99), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_zeros_are_spread_by_their_scores(several, sparsity: float, seed: int) -> None:
    arrays = [weights(shape, seed + i) * 10.0**i for i, shape in enumerate(several)]
    shares = lamp(arrays, sparsity)
    sizes = np.array([a.size for a in arrays])
    gone = np.rint(shares * sizes).astype(int)
    assert gone.sum() == round(sparsity * sizes.sum())
    scores = []  # by the paper's words, a weight at a time
    for array in arrays:
        squares = array.astype(np.float64).ravel() ** 2
        scores.append(np.sort([u / squares[squares >= u].sum() for u in squares]))
    cut = [s[:n] for s, n in zip(scores, gone, strict=True)]
    stay = [s[n:] for s, n in zip(scores, gone, strict=True)]
    assert max([s.max() for s in cut if s.size], default=0) <= min(
        [s.min() for s in stay if s.size], default=1
    ) * (1 + 1e-9)


@given(shapes, st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_two_of_four(shape, seed: int) -> None:
    w = weights(shape, seed)
    kept = mask(w, 0.5, "2:4").reshape(-1, shape[-1])
    for channel, stays in zip(np.abs(w).reshape(-1, shape[-1]).T, kept.T, strict=True):
        for start in range(0, len(channel), 4):
            four, stay = channel[start : start + 4], stays[start : start + 4]
            assert stay.sum() == -(-len(four) // 2)  # the channel's largest is among them
            if not stay.all():
                assert four[~stay].max() <= four[stay].min()
    some = mask(w, 0.2, "2:4").reshape(-1, shape[-1])
    assert (~some).sum() == min(round(0.2 * w.size), (~kept).sum())
    assert not (~some & kept).any(), "what two of four keep went"


@given(shapes, st.sampled_from([4, 8, 16, 32]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_codes_are_shared_over_the_kernel(shape, clusters: int, seed: int) -> None:
    w = weights(shape, seed)
    found = projected(w, Elementwise(clusters=clusters))
    assert len(np.unique(codes(found))) <= clusters
    np.testing.assert_allclose(scales(found), scales(w), rtol=1e-6)
    np.testing.assert_allclose(projected(found, Elementwise(clusters=clusters)), found, rtol=1e-6)
    turned = found * np.resize([1, -0.3], shape[-1])  # as a folded BatchNormalization does
    assert len(np.unique(codes(turned))) <= clusters


def test_a_codebook_is_the_best_there_is() -> None:
    """Against every choice of two codes between 0 and 127."""
    w = weights((9, 3), 1)
    scale = scales(w)
    target, importance = np.abs(w) / scale * CODES, scale**2
    target = np.rint(target)

    def error(table) -> float:
        return float(((target - table[target.astype(int)]) ** 2 * importance).sum())

    def nearest(levels):
        levels = np.array(levels)
        return levels[np.abs(np.arange(CODES + 1)[:, None] - levels).argmin(axis=1)]

    best = min(error(nearest([0, a, b, CODES])) for a, b in combinations(range(1, CODES), 2))
    assert error(codebook(w, 8)) == pytest.approx(best, rel=1e-9)


def test_a_channel_without_weights_gets_one() -> None:
    """Else it has no scale, and its bias overflows."""
    w = weights((3, 3, 2, 4), 3)
    w[..., 2] = 0
    found = projected(w, Elementwise(sparsity=0.5))
    assert np.count_nonzero(found[..., 2]) == 1
    assert np.abs(found[..., 2]).max() == pytest.approx(0.01 * np.abs(w).max(), rel=1e-5)
    np.testing.assert_array_equal(projected(found, Elementwise(sparsity=0.5)), found)


def test_zeros_and_shared_codes_together() -> None:
    w = weights((3, 3, 8, 16), 2)
    found = projected(w, Elementwise(sparsity=0.7, clusters=16))
    assert (found == 0).mean() >= 0.7 - 1 / w.size
    assert len(np.unique(codes(found))) <= 16


def test_a_model() -> None:
    model = networks.randomise(networks.ds_cnn())
    found = kernels(model)
    assert {kind for _, kind in untreated(model)} == {"DepthwiseConv2D"}
    assert len(found) == 5
    assert project(model, Elementwise(sparsity=0.5))
    assert all(abs((v.numpy() == 0).mean() - 0.5) < 0.01 for _, v in found)
    assert not project(model, Elementwise(sparsity=0.5)), "it was done before"
    assert not project(model, Elementwise(qat=True))


def test_layers_that_do_not_train_keep_their_weights() -> None:
    model = networks.cnn()
    model.layers[0].trainable = False
    assert model.layers[0].name not in [path for path, _ in kernels(model)]
    assert untreated(model)[0][0] == model.layers[0].name


@pytest.mark.parametrize("wanted", [Elementwise(sparsity=0.9), Elementwise(clusters=16)])
def test_what_is_not_treated_is_priced_in_full(wanted: Elementwise) -> None:
    """A frozen dense layer keeps its weights: a search must not count on zeros there."""
    layers = [
        keras.Input((16, 16, 3)),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ]
    model = networks.randomise(keras.Sequential(layers))
    model.layers[2].trainable = False
    x = np.random.default_rng(0).normal(size=(64, 16, 16, 3)).astype(np.float32)
    space = Space(sparsity=(0.0, 0.9), clusters=(0, 16), activation_bits=(8,))
    pricing = priced(model, board("nucleo-l4r5zi"), [x], ("aot",), space).pricing
    ranks = pricing.ranks
    dense = ranks.configuration([0] * len(ranks.parameters))
    asked = replace(dense, sparsity=wanted.sparsity, clusters=wanted.clusters)
    expected = pricing.cost(asked).flash_bytes
    project(model, spread(model, wanted))
    made = tflite.read(quantize(calibrate(to_float_tflite(model), [x]), 8, {}))
    found = estimation.cost(Columns.of(made.graph, counted(made)), backend("aot"), pricing.board)
    assert expected < pricing.cost(dense).flash_bytes - 500
    assert found.flash_bytes == pytest.approx(expected, rel=0.02)
