"""Architectures: what each one costs in all its compressed forms, before it is trained."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.configuration import Configuration
from hwsearch.conversion import Priced, priced
from hwsearch.data import Array
from hwsearch.graph import keras_channels
from hwsearch.pareto import Mode, pareto
from hwsearch.space import Space

log = logging.getLogger("hwsearch")

MOST_STRUCTURES = 2
"""Pruned forms of one architecture that are fine-tuned: the mildest that fit."""

KEPT = 128
"""Architectures whose prices are kept in memory."""

CALIBRATION = 8
"""Samples that an untrained network is calibrated on: its scales are not used, its sizes are."""


CHOSEN = (
    "multiple_of", "saliency", "schedule", "sparsity", "pattern", "clusters", "qat", "trainer",
    "method", "distillation",
)  # fmt: skip
"""Choices of a space of which every trial of a tuner takes the first."""


def fixed(space: Space) -> dict[str, object]:
    """By name the choices of a space that a tuner does not make, and what it takes.

    Ratios are of each group, and all the same; blocks stay: an untrained network ranks nothing,
    and how deep a network is, is the hypermodel's to choose.
    """
    taken: dict[str, object] = {name: getattr(space, name)[0] for name in CHOSEN}
    found = {name: value for name, value in taken.items() if len(getattr(space, name)) > 1}
    whole = {"ratios": "per-group", "drop_blocks": 0}
    return found | {n: value for n, value in whole.items() if getattr(space, n) != (value,)}


@dataclass(frozen=True)
class Verdict:
    """How an architecture stands to the budget.

    Attributes:
        priced: the architecture.
        fits: of each pruned form worth training one configuration that fits, mildest first.
        nearest: where none fits, the configuration with the smallest worst excess.
        excess: its relative overshoot by limit; every value is 0 or less where one fits.
    """

    priced: Priced
    fits: tuple[Configuration, ...]
    nearest: Configuration
    excess: dict[str, float]


def verdict(found: Priced, budget: Budget) -> Verdict:
    """Judges every pruning level of an architecture with all its bits and backends, in one batch.

    All channel groups are pruned by the same ratio: how wide each layer is relative to the others
    is the hypermodel's to choose. Of the forms that fit those are kept that no other beats in
    channels kept, activation bits and weight bits.
    """
    ranks = found.pricing.ranks
    groups, size = len(ranks.layout.groups), len(ranks.parameters)
    leaves: list[Configuration] = []
    levels: list[int] = []
    seen: set[str] = set()
    for level in range(len(found.space.pruning_ratio)):
        base = ranks.configuration([level] * groups + [0] * (size - groups))
        if base.structure in seen:
            continue
        seen.add(base.structure)
        added = ranks.leaves(base)
        leaves += added
        levels += [level] * len(added)
    columns = ranks.columns(leaves)
    excesses = budget.excesses(found.pricing.price(columns))
    worst = excesses.max(axis=1, initial=-1.0)
    nearest = int(np.argmin(worst))
    excess = dict(zip(budget.limits, map(float, excesses[nearest]), strict=True))
    rows = np.flatnonzero(worst <= 0)
    elements = np.array([n for _, _, n in ranks.layout.ops], np.float64)
    bits = columns.weight_bits @ elements
    values = np.stack([np.array(levels), columns.activation_bits, bits], axis=1)[rows]
    directions: list[Mode] = ["min", "max", "max"]
    rows = rows[pareto(values.reshape(-1, 3), directions)]
    best: dict[int, int] = {}
    for row in rows[np.lexsort((-bits[rows], columns.activation_bits[rows]))].tolist():
        best.setdefault(levels[row], row)
    chosen = [leaves[best[level]] for level in sorted(best)[:MOST_STRUCTURES]]
    return Verdict(found, tuple(chosen), leaves[nearest], excess)


class Architectures:
    """Judges models; each architecture is converted once.

    Args:
        board, budget: what it is judged for.
        backends: to choose from; None is all whose artefacts can be proven here.
        space: how it may be compressed.
        inputs: per model input real values [samples, …].
    """

    def __init__(
        self,
        board: Board,
        budget: Budget,
        backends: tuple[str, ...] | None,
        space: Space,
        inputs: Sequence[Array],
    ) -> None:
        self.board, self.budget, self.backends = board, budget, backends
        self.space = replace(space, ratios=("per-group",), drop_blocks=(0,))
        default = Space()
        for name, value in fixed(space).items():
            if (given := getattr(space, name)) != getattr(default, name):
                log.warning(
                    "A tuner's trials have %s=%r, whatever else is in %s: optimize() of the "
                    "fitted model searches that.", name, value, list(given),
                )  # fmt: skip
        self._inputs = tuple(x[:CALIBRATION] for x in inputs)
        self._known: OrderedDict[str, Verdict] = OrderedDict()

    def judge(self, model: Any) -> Verdict:
        """The verdict on a model's architecture; the model's weights are changed.

        Raises:
            ModelError, ConversionError, RefusedError: see :func:`hwsearch.conversion.priced`.
            BudgetError: no runtime can tell a cost that is limited.
        """
        key = digest(model)
        if key not in self._known:
            _distinct(model)
            found = priced(model, self.board, self._inputs, self.backends, self.space)
            pricing, said = found.pricing.within(self.budget).knowing(self.budget.limits)
            found = replace(found, pricing=pricing, notes=(*found.notes, *said))
            self._known[key] = verdict(found, self.budget)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def known(self, key: str) -> Verdict | None:
        """The verdict on an architecture by its digest, if it is at hand."""
        return self._known.get(key)


def digest(model: Any) -> str:
    """Of a model's layers, without their names, its weights, and how it is compiled."""
    config = json.loads(model.to_json())
    for name in ("compile_config", "build_config"):
        config.pop(name, None)
    names: dict[str, str] = {model.name: "#"}
    for _, layer in keras_channels.layers(model):
        names.setdefault(layer.name, f"#{len(names)}")
    config = _renamed(config, names)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """JSON with these strings replaced: Keras numbers the layers that have no name."""
    if isinstance(value, dict):
        return {k: _renamed(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(v, names) for v in value]
    return names.get(value, value) if isinstance(value, str) else value


def _distinct(model: Any) -> None:
    """Makes a new model's weights differ: a converter stores equal constants (all biases are 0)
    once, a trained network has none."""
    rng = np.random.default_rng(0)
    weights = [
        w + rng.uniform(0.001, 0.01, w.shape).astype(w.dtype) if w.dtype.kind == "f" else w
        for w in model.get_weights()
    ]
    model.set_weights(weights)
