"""The study that samplers see: what it keeps, that it stays small, that samplers work on it."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwsearch.search.memory import KEPT, MOST, Memory

SPACE = {"a": IntDistribution(0, 99), "b": IntDistribution(0, 99)}


def told(memory: Memory, value: float, cost: float, over: float | None = None) -> int:
    trial = memory.ask()
    if over is not None:
        memory.tell(trial, TrialState.PRUNED, constraints={"flash_bytes": over})
    else:
        memory.tell(trial, TrialState.COMPLETE, [value, cost], {"flash_bytes": -0.1})
    return trial.number


def test_it_keeps_the_front_the_nearest_misses_and_the_newest() -> None:
    memory = Memory(optuna.samplers.RandomSampler(0), SPACE, ["maximize", "minimize"])
    front = [told(memory, 10.0, 1.0), told(memory, 20.0, 2.0)]
    near, far = told(memory, 0, 0, over=0.001), told(memory, 0, 0, over=5.0)
    running = memory.ask().number
    dominated = told(memory, 1.0, 50.0)
    last = [told(memory, 1.0, 100.0 + i) for i in range(3 * MOST)]
    kept = {t.number for t in memory.study.get_trials(deepcopy=False)}
    assert len(kept) <= MOST + 1
    assert {*front, near, running, *last[-KEPT // 2 :]} <= kept
    assert dominated not in kept and far in kept  # there are few misses
    assert [t.number for t in memory.study.best_trials] == front


@pytest.mark.parametrize(
    "sampler",
    [
        optuna.samplers.TPESampler(multivariate=True, seed=0),
        optuna.samplers.NSGAIISampler(population_size=20, seed=0),
        optuna.samplers.RandomSampler(0),
    ],
    ids=["tpe", "nsga2", "random"],
)
def test_optunas_samplers_go_on_past_what_it_forgets(sampler: BaseSampler) -> None:
    memory = Memory(sampler, SPACE, ["maximize", "minimize"])
    seen = set()
    for _ in range(MOST + 120):
        trial = memory.ask()
        a, b = trial.params["a"], trial.params["b"]
        seen.add((a, b))
        memory.tell(trial, TrialState.COMPLETE, [float(a), float(b)], {"x": a / 100 - 0.8})
    assert len(memory.study.get_trials(deepcopy=False)) <= MOST
    assert len(seen) > 50


def test_a_single_objective_forgets_all_but_the_best() -> None:
    memory = Memory(optuna.samplers.RandomSampler(0), SPACE, ["maximize"])
    best = memory.ask()
    memory.tell(best, TrialState.COMPLETE, [1e9], {"x": 1.0})  # the best, and over a limit
    for i in range(2 * MOST):
        memory.tell(memory.ask(), TrialState.COMPLETE, [float(i % 7)], {"x": -1.0})
    assert best.number in {t.number for t in memory.study.get_trials(deepcopy=False)}


def frozen(i: int) -> FrozenTrial:
    return create_trial(
        values=[float(i), 1.0], params={"a": i % 100, "b": 0}, distributions=SPACE,
        user_attrs={"result": "long"},
    )  # fmt: skip


def test_of_many_that_others_told_it_learns_those_that_it_would_keep() -> None:
    memory = Memory(optuna.samplers.RandomSampler(0), SPACE, ["maximize", "minimize"])
    memory.learn([frozen(i) for i in range(5_000)])
    trials = memory.study.get_trials(deepcopy=False)
    assert len(trials) <= KEPT
    assert max(t.values[0] for t in trials) == 4_999
    assert all(not t.user_attrs for t in trials)


def test_what_is_enqueued_is_running_with_its_params() -> None:
    memory = Memory(optuna.samplers.RandomSampler(0), SPACE, ["maximize", "minimize"])
    trial = memory.begin({"a": 7, "b": 9})
    assert trial.params == {"a": 7, "b": 9}
    memory.tell(trial, TrialState.COMPLETE, [1.0, 2.0])
    found = memory.study.get_trials()
    assert [t.values for t in found] == [[1.0, 2.0]]
    assert np.isfinite(found[0].values).all()
