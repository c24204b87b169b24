"""The samplers on the tabular grid, shorter than ``make bench-search``: ours against chance."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search import METHODS, claims, interval, reached, run, show
from benchmarks.search_grid.table import load

TRIALS, SEEDS = 40, 3


def test_front_misses_less_than_half_of_what_chance_misses() -> None:
    table = load()
    missing = {
        name: np.mean(
            [run(table, METHODS[name], s, False, TRIALS).regrets[-1] for s in range(SEEDS)]
        )
        for name in ("front", "random")
    }
    assert missing["front"] <= 0.5 * missing["random"]


@pytest.mark.parametrize("shared", [False, True])
def test_regrets_fall_and_trials_are_counted_alike(shared: bool) -> None:
    table = load()
    for name in ("random", "tpe"):
        found = run(table, METHODS[name], 0, shared, 12)
        assert len(found.regrets) == 12 <= found.asks
        assert all(a >= b for a, b in zip(found.regrets, found.regrets[1:], strict=False))


def test_what_was_to_be_reached_is_judged_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    table = load()
    runs = {name: [run(table, METHODS["random"], s, False, 8) for s in range(2)]
            for name in METHODS}  # fmt: skip
    rows = show(runs, False)
    assert not claims(rows, "front")  # random is not half of random
    said = capsys.readouterr().out
    assert "MISSED   regret at 100 is 1.000 of random's" in said
    assert reached(runs["random"][0], -1.0) == 9
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(2.484, abs=1e-3)  # t = 4.303, s = 1, n = 3
