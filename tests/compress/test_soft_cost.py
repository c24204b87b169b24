"""Soft cost against the exact one: at whole widths, and its slope against a difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsearch.board import board
from hwsearch.budget import Budget
from hwsearch.compress.goal import Goal
from hwsearch.compress.soft_cost import soft_cost
from hwsearch.configuration import Configuration
from hwsearch.errors import InputError
from hwsearch.problem import Given, problem
from hwsearch.space import Space
from tests import networks

BOARD = board("nucleo-l4r5zi")
BUDGET = Budget(flash="64 KiB", ram="8 KiB", latency="20 ms", energy="1 mJ")
MOST = {"flash_bytes": 0.02, "ram_bytes": 0.12, "latency_s": 0.06, "energy_j": 0.06}
"""Mean relative errors allowed. RAM is the worst: a plan has gaps, and aot reuses in place."""


@pytest.fixture(scope="module")
def found():
    model = networks.randomise(networks.resnet8())
    return problem(model, BOARD, Given(space=Space(activation_bits=(8,))))


def like(found, backend: str) -> Configuration:
    layout = found.pricing.ranks.layout
    full = tuple(width for _, width, _ in layout.groups)
    return Configuration(full, "l1", backend, 8, (8,) * len(layout.ops))


@pytest.mark.parametrize("backend", ["aot", "tflm", "tflm-cmsis-nn"])
def test_near_the_exact_costs_and_so_is_the_slope(found, backend: str) -> None:
    import tensorflow as tf

    target = Goal(found.pricing, BUDGET, like(found, backend))
    soft = soft_cost(target.scheme, target.limits, target.allowed.uses)
    for name, error in zip(soft.limits, soft.errors, strict=True):
        assert error < MOST[name]
    full, least = target.allowed.full, target.allowed.least
    middle = np.maximum(full // 2 // 4 * 4, least)
    widths = tf.constant(middle[None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(widths)
        flash = soft(widths)[0, 0]
    slope = tape.gradient(flash, widths).numpy()[0]
    for g in range(len(full)):
        more, less = middle.copy(), middle.copy()
        more[g], less[g] = middle[g] + 4, middle[g] - 4
        high, low = target.allowed.uses(np.stack([more, less]))[:, 0]
        assert slope[g] == pytest.approx((high - low) / 8, rel=0.2)


def test_the_goal_is_the_price(found) -> None:
    one = replace(like(found, "tflm"), widths=(8,) * len(found.pricing.ranks.layout.groups))
    target = Goal(found.pricing, BUDGET, one, share=0.5)
    cost = found.pricing.cost(one)
    judged, edge = (
        1 + np.array(list(replace(BUDGET, strictness=how).excess(cost).values()))
        for how in ("likely", "sure")
    )
    uses = target.allowed.uses(np.array([one.widths]))[0]
    np.testing.assert_allclose(uses * 0.5, np.where(edge <= 1.05 * judged, edge, judged))
    assert (uses * 0.5 >= judged).all() and (edge > judged).any()
    with pytest.raises(InputError, match="limit to aim at"):
        Goal(found.pricing, Budget(), one)
