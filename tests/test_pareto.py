"""pareto, hypervolumes and choose against slow, obvious definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwsearch.budget import Budget
from hwsearch.candidate import Candidate, Trained
from hwsearch.pareto import choose, hypervolumes, inside, pareto, use

directions = st.lists(st.sampled_from(["max", "min"]), min_size=1, max_size=4)


@st.composite
def points(draw: st.DrawFn) -> tuple[np.ndarray, list[str]]:
    ways = draw(directions)
    n = draw(st.integers(0, 12))
    values = draw(arrays(np.float64, (n, len(ways)), elements=st.integers(-4, 4).map(float)))
    return values, ways


def dominates(a: np.ndarray, b: np.ndarray, ways: list[str]) -> bool:
    signs = [1 if w == "min" else -1 for w in ways]
    pairs = [(s * x, s * y) for s, x, y in zip(signs, a, b, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


@given(points())
@settings(deadline=None)
def test_the_front_is_what_nothing_dominates(drawn: tuple[np.ndarray, list[str]]) -> None:
    values, ways = drawn
    expected = [not any(dominates(other, p, ways) for other in values) for p in values]
    assert pareto(values, ways).tolist() == expected


def test_a_nan_is_never_on_the_front_and_beats_nothing() -> None:
    values = [[np.nan, 0.0], [1.0, 1.0], [0.0, np.nan]]
    assert pareto(values, ["min", "min"]).tolist() == [False, True, False]


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0]], [[1.0, 2.0, 3.0]]])
def test_a_shape_that_does_not_match_says_what_is_expected(values: list) -> None:
    with pytest.raises(ValueError, match=r"expected \[n, 2\]"):
        pareto(values, ["min", "max"])


@given(points())
@settings(deadline=None, max_examples=40)
def test_hypervolumes_are_the_share_of_cells_that_are_dominated(
    drawn: tuple[np.ndarray, list[str]],
) -> None:
    values, ways = drawn
    signs = np.array([1.0 if w == "min" else -1.0 for w in ways])
    corner = np.full(len(ways), 5.0)
    shares = hypervolumes(values, corner * signs, ways, samples=4000)
    assert len(shares) == len(values) and (np.diff(shares) >= 0).all()
    if len(values) == 0:
        return
    # Integer points: a cell [c, c + 1) counts when some point is <= c in every column.
    best = (values * signs).min(axis=0)
    cells = np.stack(np.meshgrid(*[np.arange(b, 5) for b in best]), axis=-1).reshape(-1, len(ways))
    covered = np.zeros(len(cells), bool)
    for i, point in enumerate(values * signs):
        covered |= (point <= cells).all(axis=1)
        # Five standard errors of a share of 4,000 samples.
        assert shares[i] == pytest.approx(covered.mean(), abs=5 * 0.5 / 4000**0.5)


def test_a_point_beyond_the_reference_covers_nothing() -> None:
    assert hypervolumes([[6.0, 0.0], [1.0, 1.0]], [5.0, 5.0], ["min", "min"])[0] == 0


def trial(number: int, value: float, flash: int, ram: int, width: float = 0.01) -> Trained:
    made = factories.cost(flash, ram)
    candidate = Candidate(number, factories.configuration(number), made)
    score = factories.score(value, width)
    return Trained(candidate, Path("none.tflite"), score, (), 1.0)


BUDGET = Budget(flash=100, ram=100)

trials = st.lists(
    st.tuples(st.integers(0, 16).map(lambda v: v / 16), st.integers(1, 130), st.integers(1, 130)),
    max_size=8,
).map(lambda rows: [trial(i, *row, width=0.125) for i, row in enumerate(rows)])


@given(trials, st.sampled_from(["max", "min"]))
@settings(deadline=None)
def test_the_chosen_fits_is_near_the_best_and_nothing_so_near_is_cheaper(
    drawn: list[Trained], mode: str
) -> None:
    found = choose(drawn, mode, BUDGET)
    fit = [t for t in drawn if t.candidate.cost.flash_bytes <= 100 >= t.candidate.cost.ram_bytes]
    if not fit:
        assert found is None
        return
    assert found in fit
    sign = 1 if mode == "max" else -1
    best = max(sign * t.score.value for t in fit)
    near = [t for t in fit if sign * t.score.value >= best - 0.125]
    assert found in near
    tightest = [max(t.candidate.cost.flash_bytes, t.candidate.cost.ram_bytes) for t in near]
    assert use(found.candidate.cost, BUDGET) == pytest.approx(min(tightest) / 100)


def test_ties_go_to_less_flash_then_to_the_earlier_trial() -> None:
    rows = [trial(0, 0.9, 80, 90), trial(1, 0.9, 50, 90), trial(2, 0.9, 50, 90)]
    assert choose(rows[::-1], "max", BUDGET) is rows[1]


def test_outside_the_interval_more_accurate_beats_cheaper() -> None:
    rows = [trial(0, 0.90, 90, 90), trial(1, 0.88, 10, 10)]
    assert choose(rows, "max", BUDGET) is rows[0]
    assert (
        choose([replace(rows[0], score=factories.score(0.90, 0.03)), rows[1]], "max", BUDGET)
        is rows[1]
    )


def test_the_accuracy_floor_is_a_limit_too() -> None:
    floor = replace(BUDGET, accuracy=0.89)
    assert inside(trial(0, 0.9, 1, 1), floor, "max") and not inside(
        trial(0, 0.88, 1, 1), floor, "max"
    )
    assert inside(trial(0, 0.88, 1, 1), floor, "min") and not inside(
        trial(0, 0.9, 1, 1), floor, "min"
    )
    assert choose([trial(0, 0.88, 1, 1)], "max", floor) is None


def test_without_limits_the_smallest_flash_in_the_interval_is_chosen() -> None:
    rows = [trial(0, 0.90, 90, 10), trial(1, 0.895, 20, 90)]
    assert choose(rows, "max", Budget()) is rows[1]


def test_a_nan_metric_is_never_chosen() -> None:
    assert choose([trial(0, float("nan"), 1, 1)], "max", BUDGET) is None
