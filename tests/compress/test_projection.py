"""Projection on invented costs: always inside where anything is, and no step is left to take."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsearch.compress.projection import Widths, project

FULL = np.array([32, 24, 10])


def allowed(limit: float, peak: float = np.inf, step: int = 4) -> Widths:
    """A sum of products, as flash is, and a maximum of sums, as RAM is."""

    def uses(w):
        w = np.asarray(w, np.float64)
        total = w[:, 0] + w[:, 0] * w[:, 1] + w[:, 1] * w[:, 2]
        live = np.maximum(w[:, 0] + w[:, 1], w[:, 1] + w[:, 2])
        return np.stack([total / limit, live / peak], axis=1)

    return Widths(np.array([1, 1, 1]), FULL, step, uses)


@given(
    st.tuples(*(st.integers(1, int(f)) for f in FULL)),
    st.floats(60, 2000), st.floats(10, 80), st.sampled_from([1, 4]), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_it_fits_and_nothing_more_does(wanted, limit, peak, step, seed) -> None:
    rng = np.random.default_rng(seed)
    worth = {g: np.sort(rng.random(f))[::-1] for g, f in enumerate(FULL)}
    found = allowed(limit, peak, step)
    widths = project(np.array(wanted), worth, found)
    assert ((widths % step == 0) | (widths == FULL)).all()
    assert (widths >= 1).all() and (widths <= FULL).all()
    assert found.over(widths[None])[0] == 0
    for steps in range(1, 34):
        tries = found.up(widths, steps)
        moved = (tries != widths).any(axis=1)
        assert (found.over(tries[moved]) > 0).all()


def test_what_is_worth_least_goes_first() -> None:
    worth = {0: np.full(32, 5.0), 1: np.full(24, 0.01), 2: np.full(10, 5.0)}
    assert project(FULL, worth, allowed(400))[1] == 8
    worth = {0: np.full(32, 0.01), 1: np.full(24, 5.0), 2: np.full(10, 0.01)}
    assert project(FULL, worth, allowed(400))[1] > 8


def test_nothing_fits_gives_the_narrowest() -> None:
    worth = {g: np.ones(f) for g, f in enumerate(FULL)}
    found = allowed(1.0)
    widths = project(FULL, worth, found)
    assert widths.tolist() == [4, 4, 4] and found.over(widths[None])[0] > 0


def test_a_peak_that_two_groups_share() -> None:
    """Two places take the same: no step alone lowers the maximum."""

    def uses(w):
        return (np.maximum(w[:, 0], w[:, 1]) / 8.0)[:, None]

    found = Widths(np.array([1, 1]), np.array([16, 16]), 4, uses)
    widths = project(np.array([16, 16]), {0: np.ones(16), 1: np.ones(16)}, found)
    assert widths.tolist() == [8, 8]


def test_a_width_that_takes_less_than_a_narrower_one() -> None:
    """Maps of equal size share memory: 12 beside 12 takes less than 8 beside 12 does."""

    def uses(w):
        return ((w[:, 0] + np.where(w[:, 0] == w[:, 1], 0, w[:, 1])) / 16.0)[:, None]

    found = Widths(np.array([1, 1]), np.array([24, 16]), 4, uses)
    worth = {0: np.full(24, 5.0), 1: np.ones(16)}
    widths = project(np.array([12, 8]), worth, found)
    assert widths.tolist() == [12, 12] and found.over(widths[None])[0] == 0


def test_rounding_is_up_and_stays_in_range() -> None:
    assert allowed(1e9).rounded(np.array([1, 5, 9])).tolist() == [4, 8, 10]
