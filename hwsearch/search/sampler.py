"""Samplers by name, and how each is told of a configuration that is over budget.

==========  =====================================  ==========================================
``tpe``     Optuna's, multivariate                 asked, told PRUNED with a constraint a limit
``nsga2``   Optuna's NSGA-II                       never asked: drawn again until it fits
``nsga3``   Optuna's NSGA-III                      never asked: drawn again until it fits
``random``  uniform among what fits                never asked
``grid``    every configuration, in mixed order    never asked
``front``   :class:`FrontSampler`                  never asked
a user's    as it is                               asked, told PRUNED with a constraint a limit
==========  =====================================  ==========================================

TPE models the infeasible side: on a toy with 2 % feasible space 58 % of its last 100 of 300 asks
were feasible when told PRUNED with a constraint, 2 % when told as failures. NSGA reads COMPLETE
trials alone; ``make bench-search`` compares drawing again with dummies behind the front.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from hwsearch.budget import Budget
from hwsearch.cost.columns import Ints
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.pricing import Pricing
from hwsearch.ranks import as_row
from hwsearch.search.bootstrap import POINTS
from hwsearch.search.front_sampler import FrontSampler
from hwsearch.search.proposer import Proposer
from hwsearch.search.study import distributions
from hwsearch.search.task import Task

if TYPE_CHECKING:
    from optuna.study import Study

NAMES = ("tpe", "nsga2", "nsga3", "random", "grid", "front")

POPULATION = 25
"""Of NSGA: as many as starting points are enqueued, so that they are its first generation."""

STARTS = {"tpe": POINTS, "nsga2": POPULATION, "nsga3": POPULATION, "front": 8}
"""Feasible points enqueued before the first ask; a sampler that is not listed has none."""

DRAWS = 64
"""Children that NSGA draws until one fits; the last is asked for if none does."""

NEEDS = {optuna.samplers.GPSampler: "torch", optuna.samplers.CmaEsSampler: "cmaes"}
"""Packages that samplers of Optuna's import at their first ask, hours after the start."""

BATCH = 256
"""Random or grid configurations costed at once."""

DRY = 400
"""Batches of which nothing fits, after which what is drawn is asked for as it is."""


def check(given: object, objectives: Sequence[str]) -> str:
    """Nothing but a note for the user, or ""; raises for what is no sampler.

    Raises:
        UnknownNameError: a name that is none of :data:`NAMES`.
        InputError: no sampler, one that cannot search several objectives, or one that needs what
            is not installed.
    """
    if isinstance(given, str):
        if given not in NAMES:
            raise UnknownNameError("sampler", given, NAMES)
        return ""
    if not isinstance(given, BaseSampler):
        raise InputError(
            f"sampler is a {type(given).__name__}, expected an optuna.samplers.BaseSampler (an "
            f"instance, not its class) or one of {', '.join(NAMES)}."
        )
    kind = type(given).__name__
    if isinstance(given, optuna.samplers.GridSampler | optuna.samplers.BruteForceSampler):
        raise InputError(
            f'{kind} ends the study itself, which only study.optimize allows. sampler="grid" '
            "visits every configuration that fits."
        )
    if isinstance(given, optuna.samplers.CmaEsSampler) and len(objectives) > 1:
        raise InputError(
            f"{kind} searches one objective, there are {len(objectives)}: "
            f"{', '.join(objectives)}. Give objectives= one, or another sampler."
        )
    needed = next((n for k, n in NEEDS.items() if isinstance(given, k)), "")
    if needed and importlib.util.find_spec(needed) is None:
        raise InputError(
            f"{kind} needs {needed}, which is not installed. Run pip install {needed}, or give "
            'sampler="front".'
        )
    ignores = (
        optuna.samplers.NSGAIISampler,
        optuna.samplers.NSGAIIISampler,
        optuna.samplers.GPSampler,
        optuna.samplers.CmaEsSampler,
        optuna.samplers.RandomSampler,
    )
    if isinstance(given, ignores) and not getattr(given, "_consider_pruned_trials", False):
        return (
            f"{kind} learns nothing from trials that are told PRUNED, as those over budget are: "
            'it will go on proposing them. sampler="nsga2", "nsga3" and "front" propose only '
            "what fits."
        )
    return ""


def sampler(task: Task, told: int) -> BaseSampler:
    """The sampler of a search.

    Args:
        task: of the search.
        told: trials in the study so far, or a worker's own number: a process that goes on with
            a study, or joins it, must not draw what others drew.
    """
    given, pricing, budget = task.sampler, task.pricing, task.budget
    if isinstance(given, BaseSampler):
        if not told:
            return given
        again = copy.deepcopy(given)  # at the caller's seed, like that of every other process
        again.reseed_rng()
        return again
    mixed = (task.seed * 1_000_003 + told) % 2**32
    if given == "front":
        return FrontSampler(
            pricing,
            budget,
            task.objectives,
            task.mode,
            original=task.original,
            seed=task.seed,
            told=told,
        )
    if given == "random":
        return Listed(pricing, budget, _random(pricing, mixed))
    if given == "grid":
        return Listed(pricing, budget, _grid(pricing, task.seed, told))
    if given == "nsga2":
        nsga2 = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=mixed)
        return Redrawn(nsga2, pricing, budget)
    if given == "nsga3":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            nsga3 = optuna.samplers.NSGAIIISampler(population_size=POPULATION, seed=mixed)
        return Redrawn(nsga3, pricing, budget)
    return optuna.samplers.TPESampler(multivariate=True, seed=mixed)


def starts(given: str | BaseSampler, trials: int) -> int:
    """Feasible points to enqueue before a sampler's first ask: half of the trials at most, or it
    would never be asked."""
    wanted = STARTS.get(given, 0) if isinstance(given, str) else POINTS
    return min(wanted, max(1, trials // 2))


class Listed(Proposer):
    """Configurations that fit, of a list in batches.

    Args:
        pricing, budget: judge them.
        batches: int64 [n, parameters] each; the last is drawn from again when they end.
    """

    def __init__(self, pricing: Pricing, budget: Budget, batches: Iterator[Ints]) -> None:
        super().__init__(pricing)
        self._budget, self._batches = budget, batches
        self._last = pricing.ranks.random(np.random.default_rng(0), 1)
        self._ready: list[Ints] = []

    def propose(self, study: Study, trial: FrozenTrial) -> Ints:
        """The next configuration."""
        for _ in range(DRY):
            if self._ready:
                break
            rows = next(self._batches, None)
            if rows is None:
                break
            self._last = rows[-1:]
            costs = self.pricing.price(self.pricing.ranks.decode(rows))
            fits = (self._budget.excesses(costs) <= 0).all(axis=1)
            self._ready = list(rows[fits][::-1])
        return self._ready.pop() if self._ready else self._last[0]


class Redrawn(Proposer):
    """A sampler that draws again until its proposal fits, so that only those are trials.

    Args:
        inner: the sampler; it must be able to draw for one trial more than once.
        pricing, budget: judge the draws.
    """

    def __init__(self, inner: BaseSampler, pricing: Pricing, budget: Budget) -> None:
        super().__init__(pricing)
        self._inner, self._budget = inner, budget

    def propose(self, study: Study, trial: FrozenTrial) -> Ints:
        """A draw that fits; what the inner sampler draws one by one is judged with the rest."""
        inner, ranks = self._inner, self.pricing.ranks
        relative = inner.infer_relative_search_space(study, trial)
        others = distributions(ranks.parameters)
        for _ in range(DRAWS):
            drawn = inner.sample_relative(study, trial, relative)
            for name, distribution in others.items():
                if name not in drawn:
                    drawn[name] = inner.sample_independent(study, trial, name, distribution)
            row = np.array(as_row(drawn, ranks.parameters), np.int64)
            costs = self.pricing.price(ranks.decode(row[None]))
            if (self._budget.excesses(costs) <= 0).all():
                break
        return row

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """As the inner sampler does."""
        self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As the inner sampler does."""
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """As the inner sampler does."""
        self._inner.reseed_rng()


def _random(pricing: Pricing, seed: int) -> Iterator[Ints]:
    rng = np.random.default_rng(seed)
    while True:
        yield pricing.ranks.random(rng, BATCH)


def _grid(pricing: Pricing, seed: int, told: int) -> Iterator[Ints]:
    """All configurations once, from one that the trials so far have not come to.

    A step that shares no factor with their number visits all of them, mixed, without a list.
    """
    choices = [p.choices for p in pricing.ranks.parameters]
    total = math.prod(choices)
    step = int(total * 0.6180339887) | 1
    while math.gcd(step, total) > 1:
        step += 2
    start = seed * 7_919 + told
    for first in range(0, total, BATCH):
        places = [(start + i) * step % total for i in range(first, min(first + BATCH, total))]
        rows = []
        for place in places:  # total may be beyond 64 bits
            row = []
            for n in choices:
                place, rank = divmod(place, n)
                row.append(rank)
            rows.append(row)
        yield np.array(rows, np.int64)


def tpe(seed: int, told: int, conditional: bool = False) -> optuna.samplers.TPESampler:
    """Multivariate TPE, the default.

    Args:
        seed: of the search.
        told: trials so far: a search that is gone on with must not draw the same again.
        conditional: whether parameters come and go with others' values.
    """
    seed = seed * 1_000_003 + told
    with warnings.catch_warnings():  # Optuna calls the argument experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(multivariate=True, group=conditional, seed=seed)
