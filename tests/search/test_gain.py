"""The expected gain of hypervolume against Optuna's exact hypervolume and plain simulation."""

from __future__ import annotations

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from hwsearch.search.gain import Front, gains


def share(metric: np.ndarray, costs: np.ndarray, front: Front, ideal: np.ndarray) -> float:
    """Exact: the dominated volume, as a share of the cost box times the metric."""
    points = np.column_stack([-metric, costs])
    corner = np.array([-front.reference, *front.corner])
    points = points[(points <= corner).all(axis=1)]
    volume = compute_hypervolume(points, corner) if len(points) else 0.0
    return float(volume / np.prod(front.corner - ideal))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_gain_is_the_mean_gain_of_hypervolume(k: int) -> None:
    rng = np.random.default_rng(k)
    costs, metric = rng.uniform(0.2, 0.9, (8, k)), rng.uniform(0.6, 0.9, 8)
    proposals = rng.uniform(0.1, 0.9, (5, k))
    mean, deviation = rng.uniform(0.6, 0.95, 5), rng.uniform(0.01, 0.1, 5)
    front = Front(costs, metric, 0.5, np.ones(k))
    ideal = np.minimum(costs.min(axis=0), proposals.min(axis=0))
    found = gains(front, proposals, mean, deviation)
    before = share(metric, costs, front, ideal)
    for i in range(5):
        drawn = rng.normal(mean[i], deviation[i], 300)
        after = [
            share(np.append(metric, a), np.vstack([costs, proposals[i]]), front, ideal)
            for a in drawn
        ]
        truth, error = np.mean(after) - before, np.std(after) / np.sqrt(len(after))
        assert found[i] == pytest.approx(truth, abs=4 * error + 0.006)


def test_costs_alone_gain_where_the_floor_is_likely() -> None:
    front = Front(np.array([[0.5]]), np.array([0.9]), 0.8, np.array([1.0]))
    gain = gains(
        front,
        np.array([[0.25], [0.25], [0.6]]),
        np.array([0.9, 0.8, 0.9]),
        np.full(3, 0.01),
        False,
    )
    assert gain[0] == pytest.approx(0.25 / 0.75, abs=0.03)  # from 0.5 down to 0.25 of 0.25 … 1
    assert gain[1] == pytest.approx(gain[0] / 2)
    assert gain[2] == 0


def test_without_costs_it_is_the_expected_improvement() -> None:
    front = Front(np.zeros((2, 0)), np.array([0.7, 0.8]), 0.0, np.zeros(0))
    gain = gains(front, np.zeros((2, 0)), np.array([0.8, 0.9]), np.array([0.1, 1e-6]))
    assert gain[0] == pytest.approx(0.1 / np.sqrt(2 * np.pi), rel=1e-3)
    assert gain[1] == pytest.approx(0.1, rel=1e-3)


def test_nothing_reached_yet() -> None:
    front = Front(np.zeros((0, 1)), np.zeros(0), 0.5, np.array([1.0]))
    assert gains(front, np.array([[0.5]]), np.array([0.7]), np.array([1e-6]))[0] > 0
    assert front.reached(np.array([[1.0]])).tolist() == [0.5]
