"""Samplers on the tabular grid: regret of the hypervolume after each trained trial.

    make bench-search                                  # all, 10 seeds: 20 minutes, idle
    python -m benchmarks.search --seeds 3 --only front random
    python -m benchmarks.search --short 16             # starting points of a search so short

Every sampler runs as a search runs it: starting points, rejection by cost, what it is told of
what is over budget; accuracies come from the table. A *trained trial* is a configuration that was
not scored before. Once without sharing (one training, one configuration) and once with it (one
training, its leaves as in a search), for all samplers alike. Everything is printed, kept in
``search.json`` and drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState, create_trial
from scipy.special import stdtrit

from benchmarks.search_grid import grid
from benchmarks.search_grid.table import Table, load
from hwsearch.cost.cost import Floats
from hwsearch.objectives import objectives
from hwsearch.ranks import as_row
from hwsearch.search.bootstrap import bootstrap
from hwsearch.search.sampler import POPULATION, sampler, starts
from hwsearch.search.study import distributions
from hwsearch.search.task import Task

HERE = Path(__file__).parent
RESULTS = HERE / "search.json"
PICTURE = HERE.parent / "docs" / "images" / "search.png"

TRIALS = 150
CHECKED = (25, 50, 75, 100, 150)
ASKS = 8
"""Asks for each trained trial, after which a run is given up; its last regret stands for the rest.
A sampler that repeats itself would else ask for ever where leaves are shared."""


@dataclass(frozen=True)
class Method:
    """One way to search.

    Attributes:
        make: (table, seed) to sampler.
        starts: feasible points enqueued before the first ask.
        dummy: whether what is over budget is told COMPLETE with an accuracy of 0, else PRUNED.
    """

    make: Callable[[Table, int], BaseSampler]
    starts: int = 0
    dummy: bool = False


def named(name: str) -> Method:
    """One of the product's, with the product's starting points."""

    def make(table: Table, seed: int) -> BaseSampler:
        return sampler(table_task(table, seed, name), 0)

    return Method(make, starts(name, TRIALS))


ORIGINAL = 0.9076
"""Accuracy of the unpruned float network on the report half."""

METHODS = {
    "random": named("random"),
    "grid": named("grid"),
    "tpe, Optuna's default": Method(lambda table, seed: TPESampler(seed=seed)),
    "tpe": named("tpe"),
    "nsga2, Optuna's default": Method(lambda table, seed: NSGAIISampler(seed=seed)),
    "nsga2, dummies": Method(
        lambda table, seed: NSGAIISampler(population_size=POPULATION, seed=seed),
        starts("nsga2", TRIALS),
        dummy=True,
    ),
    "nsga2": named("nsga2"),
    "nsga3": named("nsga3"),
    "front": named("front"),
}


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        regrets: after each trained trial.
        asks: configurations proposed.
        ask_s: mean seconds of an ask.
    """

    regrets: list[float]
    asks: int
    ask_s: float


def run(table: Table, method: Method, seed: int, shared: bool, trials: int = TRIALS) -> Run:
    """A search of so many trained trials, or fewer where the space or the asks are used up."""
    ranks, budget = table.pricing.ranks, table.budget
    found = distributions(ranks.parameters)
    study = optuna.create_study(
        directions=["maximize", *["minimize"] * (table.values.shape[1] - 1)],
        sampler=method.make(table, seed),
    )
    for row in bootstrap(table.pricing, budget, seed, method.starts).feasible:
        study.enqueue_trial(ranks.names(row))
    task = table_task(table, seed)
    excesses = budget.excesses(table.costs)
    scored: set[str] = set()
    steps: list[list[int]] = []
    asks, spent = 0, 0.0
    while len(steps) < trials and asks < ASKS * trials:
        began = time.perf_counter()
        trial = study.ask(found)
        spent += time.perf_counter() - began
        asks += 1
        row = as_row(trial.params, ranks.parameters)
        configuration = ranks.configuration(row)
        index = table.index(configuration)
        for name, value in _constraints(table, excesses, index).items():
            trial.set_constraint(name, value)
        if not table.affordable[index]:
            if method.dummy:
                study.tell(trial, [0.0, *table.values[index, 1:].tolist()])
            else:
                study.tell(trial, state=TrialState.PRUNED)
            continue
        study.tell(trial, table.values[index].tolist())
        if configuration.digest in scored:
            continue
        served = [configuration]
        if shared:
            served = task.leaves(configuration, scored)
        steps.append([table.index(leaf) for leaf in served])
        scored.update(leaf.digest for leaf in served)
        for leaf, i in zip(served[1:], steps[-1][1:], strict=True):
            names = ranks.names(ranks.ranks(leaf, row))
            study.add_trial(
                create_trial(
                    values=table.values[i].tolist(),
                    params={name: names[name] for name in found},
                    distributions=found,
                    constraints=_constraints(table, excesses, i),
                )
            )
    order = [i for step in steps for i in step]
    ends = np.cumsum([len(step) for step in steps]) - 1
    return Run(table.regrets(order)[ends].tolist(), asks, spent / asks)


def one(name: str, seed: int, shared: bool) -> Run:
    """A run of a method by name, in a process of its own."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return run(load(), METHODS[name], seed, shared)


def shorter(trials: int, seeds: Sequence[int]) -> None:
    """Prints what a short search misses by how many of its trials are starting points."""
    print(f"{trials} trials, shared trainings, {len(seeds)} seeds: regret in % by starting points")
    for name in ("front", "tpe"):
        for points in sorted({min(8, trials), trials // 2, 3 * trials // 4, trials}):
            method = replace(METHODS[name], starts=points)
            runs = [run(load(), method, seed, True, trials) for seed in seeds]
            mean, half = interval([100 * each.regrets[-1] for each in runs])
            print(f"{name:6} {points:4} {mean:8.1f} ±{half:5.1f}", flush=True)


def _constraints(table: Table, excesses: Floats, index: int) -> dict[str, float]:
    """What the loop tells of a configuration; the accuracy only where it would be trained."""
    found = dict(zip(table.budget.limits, excesses[index].tolist(), strict=True))
    if table.budget.accuracy is not None and table.affordable[index]:
        found["metric"] = table.budget.accuracy - float(table.accuracy[index])
    return found


def table_task(table: Table, seed: int, name: str = "front") -> Task:
    """A search's task over the table; nothing of it trains."""
    return Task(
        directory=HERE,
        name="bench-search",
        pricing=table.pricing,
        budget=table.budget,
        space=grid.SPACE,
        op_indexes=table.op_indexes,
        mode="max",
        objectives=objectives(None, table.budget),
        sampler=name,
        original=ORIGINAL,
        loss=b"",
        metric=b"",
        custom_objects=b"",
        trials=TRIALS,
        timeout_s=None,
        trial_timeout_s=None,
        patience=None,
        tolerance=0.0,
        workers=1,
        threads=1,
        seed=seed,
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """(mean, half-width of its 95 % interval by Student's t)."""
    n = len(values)
    half = math.inf if n < 2 else stdtrit(n - 1, 0.975) * float(np.std(values, ddof=1)) / n**0.5
    return float(np.mean(values)), half


def at(run: Run, trials: int) -> float:
    """The regret after so many trained trials, or the last one."""
    return run.regrets[min(trials, len(run.regrets)) - 1]


def reached(run: Run, regret: float) -> int:
    """Trained trials until the regret is as low; one more than there were if it never is."""
    below = [i for i, r in enumerate(run.regrets) if r <= regret]
    return below[0] + 1 if below else len(run.regrets) + 1


def show(runs: dict[str, list[Run]], shared: bool) -> dict[str, Any]:
    """Prints one table; returns it."""
    rows: dict[str, Any] = {}
    print(f"\n{'with' if shared else 'without'} sharing of trainings; regret in % of the true")
    print("hypervolume, mean of seeds ± half of its 95 % interval, after so many trained trials")
    head = "".join(f"{n:>14}" for n in CHECKED)
    print(f"{'':26}{head}   hv at 150   to random's 150   asks   ms/ask")
    goal = np.mean([at(r, TRIALS) for r in runs["random"]])
    base = 1 - goal
    for name, found in runs.items():
        cells = {n: interval([100 * at(r, n) for r in found]) for n in CHECKED}
        volume = interval([(1 - at(r, TRIALS)) / base for r in found])
        until = interval([reached(r, float(goal)) for r in found])
        asks = float(np.mean([r.asks for r in found]))
        ask_ms = 1000 * float(np.mean([r.ask_s for r in found]))
        text = "".join(f"{m:8.2f} ±{h:4.1f}" for m, h in cells.values())
        print(
            f"{name:26}{text}   {volume[0]:.3f} x     {until[0]:5.1f} ±{until[1]:4.1f}"
            f"    {asks:6.0f}   {ask_ms:6.1f}",
            flush=True,
        )
        rows[name] = {
            "seeds": len(found),
            "regret_percent": {str(n): cells[n] for n in CHECKED},
            "hypervolume_to_random": volume,
            "trials_to_random_150": until,
            "asks": asks,
            "ask_ms": ask_ms,
        }
    return rows


def claims(rows: dict[str, Any], ours: str) -> bool:
    """Prints what was to be reached; whether all was."""
    regret = {name: row["regret_percent"]["100"][0] for name, row in rows.items()}
    rivals = [name for name in rows if name.startswith(("tpe", "nsga"))]
    volume = rows[ours]["hypervolume_to_random"][0]
    most = 1 / (1 - rows["random"]["regret_percent"]["150"][0] / 100)
    until = rows[ours]["trials_to_random_150"][0]
    checks = [
        (f"regret at 100 is {regret[ours] / regret['random']:.3f} of random's (<= 0.5)",
         regret[ours] <= 0.5 * regret["random"]),
        *[(f"regret at 100 is {regret[ours]:.2f} %, that of {r} {regret[r]:.2f} %",
           regret[ours] <= regret[r]) for r in rivals],
        (f"hypervolume at 150 is {volume:.3f} of random's (>= 1.10; the whole front is "
         f"{most:.3f})", volume >= 1.10),
        (f"{until:.1f} trained trials to random's 150 (<= 75)", until <= 75),
    ]  # fmt: skip
    print(f"\n{ours}:")
    for text, held in checks:
        print(f"  {'reached' if held else 'MISSED '}  {text}")
    return all(held for _, held in checks)


def draw(tables: dict[str, dict[str, Any]]) -> None:
    """Regret against trained trials with 95 % intervals, a panel a table, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for panel, (title, rows) in zip(panels, tables.items(), strict=True):
        for i, (name, row) in enumerate(rows.items()):
            cells = np.array(list(row["regret_percent"].values()))
            ours = name == "front"
            panel.errorbar(
                np.array(CHECKED) + 0.6 * (i - len(rows) / 2), cells[:, 0], cells[:, 1],
                label=name, color="k" if ours else f"C{i}", linewidth=2.2 if ours else 1.2,
                elinewidth=0.7, capsize=1.5,
            )  # fmt: skip
        panel.set_yscale("log")
        panel.set_ylim(0.02, 110)
        panel.set_title(title)
        panel.set_xlabel("trained trials")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("hypervolume missing, % of the true one")
    panels[-1].legend(fontsize=8, loc="lower left")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--short", type=int, metavar="TRIALS")
    arguments = parser.parse_args()
    if arguments.short:
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return shorter(arguments.short, range(arguments.seeds))
    table = load()
    print(
        f"{len(table.configurations):,} configurations of {len(table.right)} structures, "
        f"{table.affordable.mean():.1%} affordable, {table.feasible.mean():.1%} above the floor "
        f"too; {len(table.front)} on the true front; limits {table.budget}"
    )
    tables = {}
    seeds = range(arguments.seeds)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for title, shared in (
            ("one training, one trial", False),
            ("one training, its leaves", True),
        ):
            work = {
                name: [pool.submit(one, name, seed, shared) for seed in seeds]
                for name in arguments.only
            }
            runs = {name: [each.result() for each in futures] for name, futures in work.items()}
            tables[title] = show(runs, shared)
    if list(arguments.only) != list(METHODS):
        return
    held = claims(tables["one training, one trial"], "front")
    RESULTS.write_text(json.dumps({"tables": tables}, indent=1) + "\n")
    draw(tables)
    print(f"\nkept in {RESULTS.name}, drawn in {PICTURE.name}")
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
