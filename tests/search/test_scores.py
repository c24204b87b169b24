"""Scores as numbers: the front kept trial by trial is that of all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hwsearch.configuration import Configuration
from hwsearch.pareto import pareto
from hwsearch.search.scores import Scores

ONE = Configuration((8,), "l1", "tflm", 8, (8,))

TRIALS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=30
)


@given(TRIALS)
def test_the_front_is_that_of_the_first_score_of_each_configuration(
    trials: list[tuple[int, int, int, bool]],
) -> None:
    scores, known = Scores(["max", "min"]), dict[int, tuple[int, int, int, bool]]()
    for trial_id, (width, metric, cost, fits) in enumerate(trials):
        new = scores.add(replace(ONE, widths=(width,)), trial_id, [metric, cost], fits)
        assert new == (width not in known)
        known.setdefault(width, (trial_id, metric, cost, fits))
    inside = [(i, m, c) for i, m, c, fits in known.values() if fits]
    mask = pareto(np.array([row[1:] for row in inside]).reshape(-1, 2), ["max", "min"])
    assert sorted(scores.front) == [row[0] for row, on in zip(inside, mask, strict=True) if on]
    for width, (trial_id, *_) in known.items():
        assert scores.trial_id(replace(ONE, widths=(width,))) == trial_id
    assert ONE not in scores or 8 in known
