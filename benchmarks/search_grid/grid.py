"""The grid: a small network on Fashion-MNIST, every structure of it and every recipe.

256 structures (4 channel groups, each kept whole, to a half, a quarter or an eighth) times 8
recipes (the weights of each of the three largest convolutions at 8 or 4 bits, activations at 8).
Everything else of a trial (runtime, costs) is analytic. 16-bit activations are left out: LiteRT
scores them without XNNPACK, at twenty times the time of a recipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import numpy as np

from hwsearch.layout import Layout
from hwsearch.pricing import Pricing
from hwsearch.ranks import Ranks
from hwsearch.search.training import Precision
from hwsearch.space import Space

HERE = Path(__file__).parent
DATA = HERE / "data"

WIDTHS, STRIDES = (32, 32, 64, 64), (2, 1, 2, 1)
RATIOS = (0.0, 0.5, 0.75, 0.875)
SPACE = Space(
    pruning_ratio=RATIOS,
    multiple_of=(4,),
    saliency=("l1",),
    schedule=("one-shot",),
    weight_bits=(8, 4),
    activation_bits=(8,),
    epochs=1,
    learning_rate=4e-3,
    batch_size=64,
    samples=10_000,
    distillation=(0.0,),
)
VARIED = 3
"""Operators whose weight bits vary: those with the most weights, 97 % of all."""

BOARD = "nucleo-l4r5zi"
BACKENDS = ("aot", "tflm", "tflm-cmsis-nn")
LOSS, METRIC = "sparse_categorical_crossentropy", "accuracy"

BASE_IMAGES = slice(10_000, 60_000)
TRAIN_IMAGES = slice(10_000, 30_000)
SAMPLES = 2_500
"""Images of each half: the search's are the first training images, the report's the first test
images."""

STRUCTURES = tuple(product(range(len(RATIOS)), repeat=len(WIDTHS)))
"""Per structure the rank of each group's pruning ratio."""

SEEDS = 3
REPEATED = tuple(
    sorted(map(int, np.random.default_rng(0).choice(len(STRUCTURES), 32, replace=False)))
)
"""Structures that are trained with all seeds; the others with seed 0 alone."""

CELLS = tuple((i, 0) for i in range(len(STRUCTURES))) + tuple(
    (i, seed) for seed in range(1, SEEDS) for i in REPEATED
)
"""(structure, seed) of every training."""


def narrowed(pricing: Pricing, op_indexes: tuple[int, ...]) -> tuple[Pricing, tuple[int, ...]]:
    """The pricing with bits that vary in :data:`VARIED` operators alone, and their indexes.

    The other operators keep 8-bit weights.
    """
    layout = pricing.ranks.layout
    largest = sorted(np.argsort([-size for _, _, size in layout.ops])[:VARIED].tolist())
    ops = tuple(layout.ops[i] for i in largest)
    ranks = Ranks(SPACE, Layout(layout.groups, ops), pricing.ranks.backends)
    schemes = {
        bits: replace(scheme, weights=scheme.weights[largest])
        for bits, scheme in pricing.schemes.items()
    }
    return Pricing(pricing.board, ranks, schemes), tuple(op_indexes[i] for i in largest)


def precision(op_indexes: tuple[int, ...], bits: Sequence[int]) -> Precision:
    """The recipe of some weight bits of the varied operators."""
    pairs = zip(op_indexes, map(int, bits), strict=True)
    return Precision(8, tuple((i, b) for i, b in pairs if b != 8))


def recipes(op_indexes: tuple[int, ...]) -> tuple[Precision, ...]:
    """The 8 recipes: all weight bits of the varied operators."""
    combinations = product(SPACE.weight_bits, repeat=len(op_indexes))
    return tuple(precision(op_indexes, bits) for bits in combinations)
