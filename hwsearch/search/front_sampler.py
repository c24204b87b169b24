"""FrontSampler: proposes what the cost model says fits and a surrogate says moves the front.

Other samplers learn what fits by asking. Here hundreds of proposals are costed in one batch,
what is over budget is dropped, and of the rest the one is asked for that is expected to gain
most hypervolume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from hwsearch.budget import Budget
from hwsearch.cost.columns import Ints
from hwsearch.cost.cost import Floats
from hwsearch.objectives import METRIC, cost_names, cost_values
from hwsearch.pareto import Mode, pareto
from hwsearch.pricing import Pricing
from hwsearch.ranks import Decoded, Ranks, as_row
from hwsearch.search.bootstrap import bootstrap
from hwsearch.search.gain import Front, gains
from hwsearch.search.proposer import Proposer
from hwsearch.search.surrogate import Features, Surrogate

if TYPE_CHECKING:
    from optuna.study import Study

FIRST_PROPOSALS = 2048
PROPOSALS = 512
"""Configurations proposed and costed in one batch: at first, and an ask."""

KEPT = 1024
"""Those of the largest gain, gone on with at the next ask."""

REMEMBERED = 20_000
"""Configurations costed last, which are not costed again."""

EXPLORED = 0.05
"""Share of asks that are any configuration that fits: the surrogate may be wrong."""

FIRST = 6
"""Scored configurations before the surrogate is asked."""


@dataclass(frozen=True)
class Pool:
    """Configurations that fit.

    Attributes:
        rows: int64 [n, parameters], ranks.
        costs: float64 [n, k], of the objectives.
        keys: uint64 [n], see :func:`_keys`.
    """

    rows: Ints
    costs: Floats
    keys: NDArray[np.uint64]

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """The three, as they are."""
        return self.rows, self.costs, self.keys

    def take(self, rows: Any) -> Pool:
        """Only these rows."""
        return Pool(*(column[rows] for column in self.columns))


class FrontSampler(Proposer):
    """Asks for the configuration that is expected to gain most hypervolume, of those that fit.

    For studies whose parameters are those of the pricing's ranks and whose values are the
    objectives. What is over budget is never proposed unless nothing fits. Trials that still run
    count as if they had reached what the surrogate expects, those that failed as if they were as
    bad as the worst. An ask takes about 20 ms.

    Args:
        pricing: costs configurations.
        budget: the limits; of the accuracy too.
        objectives: in the study's order: ``"metric"`` and names of costs, as in
            :func:`hwsearch.objectives.objectives`.
        mode: whether the metric is maximised or minimised.
        original: the unpruned model's metric. A configuration is not proposed where a trial that
            is no dearer has reached it: there is nothing left to gain. None proposes it.
        seed: of the draws.
        told: trials of the study so far; one that is gone on with does not draw the same again.
    """

    def __init__(
        self,
        pricing: Pricing,
        budget: Budget,
        objectives: Sequence[str],
        mode: Mode = "max",
        *,
        original: float | None = None,
        seed: int = 0,
        told: int = 0,
    ) -> None:
        super().__init__(pricing)
        self._budget = budget
        self._objectives, self._original = tuple(objectives), original
        self._sign = 1.0 if mode == "max" else -1.0
        self._rng = np.random.default_rng((seed, told))
        self._known: NDArray[np.uint64] | None = None  # keys of what was costed
        parameters = len(pricing.ranks.parameters)
        self._pool = Pool(
            np.zeros((0, parameters), np.int64),
            np.zeros((0, len(cost_names(self._objectives)))),
            np.zeros(0, np.uint64),
        )

    def reseed_rng(self) -> None:
        """Other random numbers than before, as Optuna asks of copies in threads."""
        self._rng = np.random.default_rng()

    def propose(self, study: Study, trial: FrozenTrial) -> Ints:
        """int64 [parameters]: the ranks to ask for."""
        ranks, rng, sign = self.pricing.ranks, self._rng, self._sign
        told = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        told = [t for t in told if np.isfinite(t.values).all()]
        scored = _rows(told, ranks)
        busy, lost = (
            _rows([t for t in study.get_trials(deepcopy=False, states=(s,)) if t.params], ranks)
            for s in (TrialState.RUNNING, TrialState.FAIL)
        )
        lost = lost[~np.isin(_keys(ranks.decode(lost)), _keys(ranks.decode(scored)))]
        metric = sign * np.array([self._metric(t) for t in told], np.float64)
        inside = np.array([all(c <= 0 for c in t.constraints.values()) for t in told], bool)
        spent = [i for i, name in enumerate(self._objectives) if name != METRIC]
        costs = np.array([[t.values[i] for i in spent] for t in told], np.float64)
        costs = costs.reshape(len(told), len(spent))

        self._grow(scored[inside][_front(costs[inside], metric[inside])])
        taken = _keys(ranks.decode(np.concatenate([scored, busy, lost])))
        pool = self._pool.take(~np.isin(self._pool.keys, taken))
        if len(pool.rows) == 0:  # nothing fits, or all that fits was tried
            return self._nearest
        if len(told) < FIRST or rng.random() < EXPLORED:
            return np.asarray(pool.rows[rng.integers(len(pool.rows))])
        rows = np.concatenate([scored, lost])
        known = np.concatenate([metric, np.full(len(lost), metric.min())])
        surrogate = Surrogate.fit(Features.of(ranks, ranks.decode(rows)), known)
        if len(busy):
            expected, _ = surrogate.predict(Features.of(ranks, ranks.decode(busy)))
            both = Features.of(ranks, ranks.decode(np.concatenate([rows, busy])))
            surrogate = Surrogate.fit(both, np.concatenate([known, expected]))
        mean, deviation = surrogate.predict(Features.of(ranks, ranks.decode(pool.rows)))
        floor = self._budget.accuracy
        reference = float(metric.min()) if floor is None else sign * floor
        dearest = np.concatenate([costs, pool.costs]).max(axis=0, initial=0)
        names = cost_names(self._objectives)
        limits = self._budget.limits
        corner = np.array([limits.get(n, d) for n, d in zip(names, dearest, strict=True)])
        front = Front(costs[inside], metric[inside], reference, corner)
        gain = gains(front, pool.costs, mean, deviation, METRIC in self._objectives)
        if self._original is not None and METRIC in self._objectives:
            done = front.reached(pool.costs) >= sign * self._original
            gain = np.where(done, -1.0, gain)
        order = np.argsort(-gain, kind="stable")
        self._pool = pool.take(order[:KEPT])
        return np.asarray(pool.rows[order[0]])

    def _grow(self, parents: Ints) -> None:
        """Adds new configurations that fit to the pool.

        Args:
            parents: int64 [m, parameters], the front.
        """
        ranks, rng = self.pricing.ranks, self._rng
        if self._known is None:
            drawn = [
                bootstrap(self.pricing, self._budget, int(rng.integers(2**31))).feasible,
                ranks.pruned(rng, FIRST_PROPOSALS // 2),
                ranks.random(rng, FIRST_PROPOSALS // 2),
            ]
            self._known = np.zeros(0, np.uint64)
        else:
            some = PROPOSALS // 4
            drawn = [ranks.pruned(rng, some // 2), ranks.random(rng, some // 2)]
            if len(parents):
                drawn += [_mutated(ranks, rng, parents, 2 * some), _crossed(rng, parents, some)]
        rows = np.concatenate(drawn)
        keys, first = np.unique(_keys(ranks.decode(rows)), return_index=True)
        new = ~np.isin(keys, self._known)
        rows, keys = rows[first[new]], keys[new]
        self._known = np.concatenate([keys, self._known[:REMEMBERED]])
        if not len(rows):
            return
        priced = self.pricing.price(ranks.decode(rows))
        fits = (self._budget.excesses(priced) <= 0).all(axis=1)
        found = Pool(rows[fits], cost_values(priced, self._objectives)[fits], keys[fits])
        pairs = zip(self._pool.columns, found.columns, strict=True)
        self._pool = Pool(*(np.concatenate(pair) for pair in pairs))

    @cached_property
    def _nearest(self) -> Ints:
        return bootstrap(self.pricing, self._budget, 0).nearest

    def _metric(self, trial: FrozenTrial) -> float:
        """The metric of a trial; where it is no objective, by its floor."""
        if METRIC in self._objectives:
            return float(trial.values[self._objectives.index(METRIC)])
        floor = self._budget.accuracy or 0.0
        return floor - self._sign * float(trial.constraints.get(METRIC, 0.0))


def _rows(trials: Sequence[FrozenTrial], ranks: Ranks) -> Ints:
    """int64 [trials, parameters]."""
    found = [as_row(t.params, ranks.parameters) for t in trials]
    return np.array(found, np.int64).reshape(len(trials), len(ranks.parameters))


def _front(costs: Floats, metric: Floats) -> NDArray[np.bool_]:
    values = np.concatenate([metric[:, None], costs], axis=1)
    down: list[Mode] = ["min"] * costs.shape[1]
    return pareto(values, ["max", *down])


def _keys(decoded: Decoded) -> NDArray[np.uint64]:
    """uint64 [n]: equal for ranks that mean the same configuration, else different but by chance
    of 1 in 2**64."""
    found = (getattr(decoded, f.name) for f in fields(Decoded))
    columns = np.column_stack([np.ascontiguousarray(c).view(np.uint64) for c in found])
    odd = np.random.default_rng(0).integers(0, 2**63, columns.shape[1], np.uint64) * 2 + 1
    return np.asarray((columns * odd).sum(axis=1, dtype=np.uint64))


def _mutated(ranks: Ranks, rng: np.random.Generator, parents: Ints, n: int) -> Ints:
    """int64 [n, parameters]: parents with about two parameters changed, ordered ones by a step."""
    choices = np.array([p.choices for p in ranks.parameters])
    ordered = np.array([p.ordered for p in ranks.parameters])
    rows = parents[rng.integers(0, len(parents), n)]
    step = np.clip(rows + rng.choice([-1, 1], rows.shape), 0, choices - 1)
    jump = rng.integers(0, choices, rows.shape)
    changed = np.where(ordered & (rng.random(rows.shape) < 0.7), step, jump)
    varied = choices > 1
    return np.where(varied & (rng.random(rows.shape) < 2 / max(2, varied.sum())), changed, rows)


def _crossed(rng: np.random.Generator, parents: Ints, n: int) -> Ints:
    """int64 [n, parameters]: each parameter of one of two parents."""
    one, other = parents[rng.integers(0, len(parents), (2, n))]
    return np.where(rng.random(one.shape) < 0.5, one, other)
