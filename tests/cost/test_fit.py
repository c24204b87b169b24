from __future__ import annotations

import numpy as np
import pytest

from hwsearch.cost.fit import Hierarchy, Level

PRIOR = {"a.mac": 1.0, "b.mac": 1.0, "op": 10.0}
KIN = {"a.mac": "mac", "b.mac": "mac"}
LEVELS = (
    Level(lambda cell: "all", 1.0, 0.0, 1.0),
    Level(lambda cell: cell[2], 1.0, 0.0, 0.1),
)
OLD, NEW = ("M4", "r", "1"), ("M4", "r", "2")


def data(rng, theta, rows):
    x = rng.uniform(10, 1000, (rows, 3)) * [1, 1, 0.1]
    return x, x @ theta


def test_exact_data_are_recovered():
    rng = np.random.default_rng(0)
    truth = np.array([0.4, 3.0, 50.0])
    x, cycles = data(rng, truth, 60)
    hierarchy = Hierarchy(PRIOR, KIN, LEVELS, [OLD])
    effects = hierarchy.fit(x, [OLD] * 60, cycles, np.full(60, 0.01))
    assert hierarchy.coefficients(OLD, effects) == pytest.approx(truth, rel=0.02)


def test_a_version_with_one_row_takes_its_shape_from_the_other():
    rng = np.random.default_rng(1)
    truth = np.array([0.4, 3.0, 50.0])
    x, cycles = data(rng, truth, 60)
    cycles[-1] /= 2  # the new version is twice as fast
    cells = [OLD] * 59 + [NEW]
    hierarchy = Hierarchy(PRIOR, KIN, LEVELS, [OLD, NEW])
    effects = hierarchy.fit(x, cells, cycles, np.full(60, 0.01))
    assert hierarchy.coefficients(NEW, effects) == pytest.approx(truth / 2, rel=0.1)


def test_without_data_the_prior_and_the_scale_stand():
    hierarchy = Hierarchy(PRIOR, KIN, LEVELS, [OLD, NEW], lambda cell: 3.0)
    effects = np.zeros(len(hierarchy._widths))
    assert hierarchy.coefficients(NEW, effects) == pytest.approx([3.0, 3.0, 30.0])


def test_an_outlier_is_damped():
    rng = np.random.default_rng(2)
    truth = np.array([0.4, 3.0, 50.0])
    x, cycles = data(rng, truth, 60)
    cycles[0] *= 20
    hierarchy = Hierarchy(PRIOR, KIN, LEVELS, [OLD])
    effects = hierarchy.fit(x, [OLD] * 60, cycles, np.full(60, 0.05))
    assert hierarchy.coefficients(OLD, effects) == pytest.approx(truth, rel=0.05)


def test_kin_move_together():
    rng = np.random.default_rng(3)
    x = rng.uniform(10, 1000, (40, 3)) * [1, 0, 0.1]  # nothing of b is ever seen
    levels = (Level(lambda cell: "all", 0.1, 1.0, 0.1),)
    hierarchy = Hierarchy(PRIOR, KIN, levels, [OLD])
    effects = hierarchy.fit(x, [OLD] * 40, x @ [4.0, 0.0, 10.0], np.full(40, 0.01))
    a, b, op = hierarchy.coefficients(OLD, effects)
    assert a == pytest.approx(4.0, rel=0.02)
    assert b == pytest.approx(4.0, rel=0.2)
    assert op == pytest.approx(10.0, rel=0.2)
