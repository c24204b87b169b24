"""Every sampler: the same contract; ours: it finds the front sooner than chance."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from search.tasks import pricing, task

from hwsearch.budget import Budget
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.objectives import cost_values, objectives
from hwsearch.pareto import pareto
from hwsearch.pricing import Pricing
from hwsearch.ranks import Decoded, as_row
from hwsearch.search.sampler import NAMES, check, sampler
from hwsearch.search.study import distributions
from hwsearch.search.task import Task
from hwsearch.space import Space

BUDGET = Budget(flash=26_600, ram=640)
OBJECTIVES = objectives(None, BUDGET)
NEVER_OVER = [n for n in NAMES if n != "tpe"]


def test_a_sampler_of_the_user_s_draws_otherwise_in_every_process(tmp_path: Path) -> None:
    given = optuna.samplers.RandomSampler(seed=0)
    chosen = replace(task(tmp_path, BUDGET, 3), sampler=given)
    assert sampler(chosen, 0) is given

    def drawn(told: int) -> list[float]:
        study = optuna.create_study(sampler=sampler(chosen, told))
        return [study.ask().suggest_float("x", 0, 1) for _ in range(3)]

    later, others, first = drawn(7), drawn(8), drawn(0)
    assert len({*later, *others, *first}) == 9
    assert first == [
        optuna.create_study(sampler=s).ask().suggest_float("x", 0, 1)
        for s in [optuna.samplers.RandomSampler(seed=0)]
        for _ in range(3)
    ]


@pytest.fixture(scope="module")
def priced() -> Pricing:
    ratios = tuple(i / 32 for i in range(32))
    return pricing(
        Space(pruning_ratio=ratios, multiple_of=(1,), activation_bits=(8,), distillation=(0.5,))
    )


def of(priced: Pricing, name: str, **more: Any) -> Task:
    """A task of this pricing."""
    made = task(Path("unused"), BUDGET, 1)
    given = {"pricing": priced, "sampler": name, "objectives": OBJECTIVES, **more}
    return replace(made, **given)


def accuracy(decoded: Decoded) -> np.ndarray:
    """Invented: falls as channels and bits do; some structures are luckier than others."""
    luck = 0.02 * np.sin(decoded.widths[:, 0] * 7.0 + decoded.saliency)
    low = (decoded.weight_bits < 8).sum(axis=1)
    return np.asarray(0.95 - 0.6 / decoded.widths[:, 0] - 0.01 * low + luck)


def search(priced: Pricing, name: str, trials: int, seed: int = 0) -> list[list[int]]:
    """The rows that a sampler asks for, over-budget ones told as the loop does."""
    made = sampler(of(priced, name, seed=seed), 0)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=made)
    rows = []
    for _ in range(trials):
        trial = study.ask(distributions(priced.ranks.parameters))
        row = as_row(trial.params, priced.ranks.parameters)
        rows.append(row)
        decoded = priced.ranks.decode(np.array([row]))
        costs = priced.price(decoded)
        excess = BUDGET.excesses(costs)[0]
        for limit, over in zip(BUDGET.limits, excess, strict=True):
            trial.set_constraint(limit, float(over))
        if (excess > 0).any():
            study.tell(trial, state=TrialState.PRUNED)
        else:
            values = [*accuracy(decoded), *cost_values(costs, OBJECTIVES)[0]]
            study.tell(trial, list(map(float, values)))
    return rows


def fits(priced: Pricing, rows: list[list[int]]) -> np.ndarray:
    costs = priced.price(priced.ranks.decode(np.array(rows)))
    return np.asarray((BUDGET.excesses(costs) <= 0).all(axis=1))


def whole(priced: Pricing) -> np.ndarray:
    return np.array(list(itertools.product(*(range(p.choices) for p in priced.ranks.parameters))))


@pytest.mark.parametrize("name", NAMES)
def test_each_asks_within_the_space_and_the_same_for_a_seed(priced: Pricing, name: str) -> None:
    rows = search(priced, name, 30)
    choices = [p.choices for p in priced.ranks.parameters]
    assert all(0 <= r < n for row in rows for r, n in zip(row, choices, strict=True))
    assert rows == search(priced, name, 30)
    assert rows != search(priced, name, 30, seed=1)


@pytest.mark.parametrize("name", NEVER_OVER)
def test_all_but_tpe_ask_only_for_what_fits(priced: Pricing, name: str) -> None:
    assert fits(priced, whole(priced).tolist()).mean() < 0.5
    assert fits(priced, search(priced, name, 30)).all()


@pytest.mark.parametrize("name", ["random", "grid", "front"])
def test_a_study_that_goes_on_does_not_start_anew(priced: Pricing, name: str) -> None:
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    asked = []
    for told in (0, 10):
        study.sampler = sampler(of(priced, name), told)
        asked.append(study.ask(distributions(priced.ranks.parameters)).params)
    assert asked[0] != asked[1]


def test_the_grid_visits_all_that_fits_once(priced: Pricing) -> None:
    rows = whole(priced)
    wanted = int(fits(priced, rows.tolist()).sum())
    visited = search(priced, "grid", wanted)
    assert len(set(map(tuple, visited))) == wanted


def test_nothing_fits_and_they_still_answer(priced: Pricing) -> None:
    """The loop ends such a search; a sampler must not hang in it."""
    for name in NAMES:
        made = sampler(of(priced, name, budget=Budget(flash=1)), 0)
        study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=made)
        assert study.ask(distributions(priced.ranks.parameters)).params


def front_found(priced: Pricing, rows: list[list[int]]) -> float:
    """The share of the true front's values that were asked for."""
    every = whole(priced)
    decoded = priced.ranks.decode(every)
    costs = priced.price(decoded)
    inside = (BUDGET.excesses(costs) <= 0).all(axis=1)
    values = np.column_stack([accuracy(decoded), cost_values(costs, OBJECTIVES)])
    on = pareto(values[inside], ["max", "min", "min"])
    true = {tuple(v) for v in values[inside][on]}
    asked = priced.ranks.decode(np.array(rows))
    got = np.column_stack([accuracy(asked), cost_values(priced.price(asked), OBJECTIVES)])
    return len(true & {tuple(v) for v in got}) / len(true)


def test_front_sampler_finds_more_of_the_front_than_chance(priced: Pricing) -> None:
    ours = np.mean([front_found(priced, search(priced, "front", 40, s)) for s in range(3)])
    chance = np.mean([front_found(priced, search(priced, "random", 40, s)) for s in range(3)])
    assert ours > 1.5 * chance


def test_front_sampler_never_asks_for_the_same_twice(priced: Pricing) -> None:
    rows = search(priced, "front", 60)
    configurations = priced.ranks.configurations(priced.ranks.decode(np.array(rows)))
    assert len({c.digest for c in configurations}) == 60


def test_front_sampler_leaves_what_a_cheaper_trial_as_good_as_the_original_dominates(
    priced: Pricing,
) -> None:
    """Nothing dearer is asked for once a small network reached the original's metric."""
    every = whole(priced)
    decoded = priced.ranks.decode(every)
    costs = cost_values(priced.price(decoded), OBJECTIVES)
    inside = fits(priced, every.tolist())
    order = np.argsort(costs[inside].sum(axis=1), kind="stable")
    cheap = np.flatnonzero(inside)[order[len(order) // 4]]
    made = sampler(of(priced, "front", original=0.9), 0)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=made)
    found = distributions(priced.ranks.parameters)
    known = [cheap, *np.flatnonzero(inside)[:8]]
    for i in known:
        names = priced.ranks.names(every[i])
        study.add_trial(
            optuna.trial.create_trial(
                values=[0.95 if i == cheap else 0.5, *costs[i]],
                params={n: names[n] for n in found},
                distributions=found,
                constraints={"flash_bytes": -0.1},
            )
        )
    asked = []
    for _ in range(20):
        trial = study.ask(found)
        row = np.array([as_row(trial.params, priced.ranks.parameters)])
        asked.append(cost_values(priced.price(priced.ranks.decode(row)), OBJECTIVES)[0])
    dominated = [bool((costs[cheap] <= a).all()) for a in asked]
    dearer = (costs[cheap] <= costs[inside]).all(axis=1)
    assert dearer.mean() > 0.25
    assert sum(dominated) <= 1  # drawn at random


@pytest.mark.parametrize("given", [optuna.samplers.TPESampler, 3, None, object()])
def test_what_is_no_sampler_is_refused(given: object) -> None:
    with pytest.raises(InputError, match="sampler is a"):
        check(given, OBJECTIVES)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="front, grid, nsga2"):
        check("annealing", OBJECTIVES)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_users_sampler_that_ignores_pruned_trials_is_taken_with_a_note() -> None:
    assert "learns nothing" in check(optuna.samplers.NSGAIISampler(), OBJECTIVES)
    assert check(optuna.samplers.TPESampler(), OBJECTIVES) == ""
    assert [check(name, OBJECTIVES) for name in NAMES] == [""] * len(NAMES)
    with pytest.raises(InputError, match="searches one objective"):
        check(optuna.samplers.CmaEsSampler(), OBJECTIVES)
    if importlib.util.find_spec("torch") is None:
        with pytest.raises(InputError, match=r"GPSampler needs torch.*pip install torch"):
            check(optuna.samplers.GPSampler(), OBJECTIVES)
    for ending in (optuna.samplers.GridSampler({"a": [0]}), optuna.samplers.BruteForceSampler()):
        with pytest.raises(InputError, match='sampler="grid"'):
            check(ending, OBJECTIVES)


def test_front_tells_configurations_apart_by_any_choice() -> None:
    space = Space(
        pruning_ratio=(0.5,), saliency=("l1", "l2"), schedule=("one-shot", "agp"),
        weight_bits=(8,), activation_bits=(8,),
    )  # fmt: skip
    small = pricing(space)
    choices = whole(small)
    made = sampler(of(small, "front", budget=Budget(flash="1 MiB")), 0)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=made)
    rows = set()
    for _ in choices:
        trial = study.ask(distributions(small.ranks.parameters))
        rows.add(tuple(as_row(trial.params, small.ranks.parameters)))
        study.tell(trial, [0.5, 1.0, 1.0])
    assert len(rows) == len(choices)
