"""Stagnation: the running hypervolume against Optuna's exact one, and the search that it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume
from search.tasks import searching, task

from hwsearch.budget import Budget
from hwsearch.candidate import Candidate, Score, Trained
from hwsearch.pareto import inside
from hwsearch.search.stagnation import Stagnation
from hwsearch.search.task import Task
from hwsearch.search.training import Artefact, Job, Result

BUDGET = Budget(flash=40_000, ram=1_200, accuracy=0.5)


def scored(of: Task, n: int) -> list[Trained]:
    """Trials of random configurations with an invented metric."""
    rng = np.random.default_rng(0)
    ranks = of.pricing.ranks
    made = ranks.configurations(ranks.decode(ranks.random(rng, n)))
    values = rng.uniform(0.3, 0.9, n)
    return [
        Trained(
            Candidate(i, c, of.pricing.cost(c)), Path("x"), Score(v, v, v, 9, "Keras"), (), 0.0
        )
        for i, (c, v) in enumerate(zip(made, values.tolist(), strict=True))
    ]


def exact(of: Task, trials: list[Trained], reference: float) -> float:
    corner = np.array([-reference, *of.budget.limits.values()])
    points = np.array([[-t.score.value, *of.values(t)[1:]] for t in trials])
    points = points[(points <= corner).all(axis=1)]
    return float(compute_hypervolume(points, corner)) if len(points) else 0.0


@pytest.mark.parametrize("floor", [0.5, None])
def test_growth_is_that_of_the_exact_hypervolume(tmp_path: Path, floor: float | None) -> None:
    chosen = task(tmp_path, replace(BUDGET, accuracy=floor), 1)
    trials = scored(chosen, 30)
    running = Stagnation(chosen)
    for trained in trials:
        if inside(trained, chosen.budget, "max"):
            running.add(chosen.values(trained), trained.score.value)
        running.mark()
    reference = floor or min(t.score.value for t in trials)
    now = exact(chosen, trials, reference)
    for window in (5, 20, 26):
        then = exact(chosen, trials[:-window], reference)
        assert running.growth(window) == pytest.approx(now / then - 1, abs=0.05)
    assert running.growth(31) == math.inf


def test_nothing_inside_is_no_stagnation(tmp_path: Path) -> None:
    chosen = task(tmp_path, replace(BUDGET, accuracy=0.95), 1)
    running = Stagnation(chosen)
    for trained in scored(chosen, 10):
        if inside(trained, chosen.budget, "max"):
            running.add(chosen.values(trained), trained.score.value)
        running.mark()
    assert running.growth(5) == math.inf


def same(value: float) -> Callable[..., tuple[Result | None, str]]:
    """A training whose artefacts all score the same."""

    def train(job: Job, *_: object) -> tuple[Result | None, str]:
        job.folder.mkdir(parents=True, exist_ok=True)
        made = []
        for precision in job.precisions:
            path = job.folder / precision.name
            path.write_bytes(b"")
            made.append(Artefact(precision, path, Score(value, value, value, 9, "Keras")))
        return Result((), 0.0, tuple(made)), ""

    return train


def test_a_search_ends_when_it_stagnates_and_not_without_patience(tmp_path: Path) -> None:
    for name, patience in (("ends", 6), ("goes on", None)):
        (tmp_path / name).mkdir()
        chosen = task(tmp_path / name, replace(BUDGET, accuracy=None), 40)
        chosen = replace(chosen, sampler="random", patience=patience, objectives=("metric",))
        with searching(chosen, train=same(0.7)) as search:
            search.run()
            evaluated = search.known.counts.evaluated
            assert search.known.stagnates == (name == "ends")
        assert (evaluated < 15) == (name == "ends"), evaluated
