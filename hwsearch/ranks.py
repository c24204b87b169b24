"""Ranks: the search space of one model as an integer matrix.

Every choice is a rank among an ordered list, so n configurations are an integer matrix
[n, parameters]: cheap to draw at random, to cost in a batch and to hand to Optuna. Bit widths are
ranks among what the *chosen backend* supports: as free choices with a constraint, 0.025 % of
random points were feasible on a synthetic space of this shape, as ranks 2.6 %.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hwsearch.backends.backend import Backend
from hwsearch.configuration import Configuration
from hwsearch.cost.columns import Ints
from hwsearch.cost.cost import Floats
from hwsearch.errors import SpaceError
from hwsearch.layout import Layout
from hwsearch.space import Space

TRAINING = {
    "schedule": False, "sparsity": True, "pattern": False, "clusters": False, "qat": False,
    "trainer": False, "method": False, "drop_blocks": True, "distillation": False,
}  # fmt: skip
"""Parameters of what a training shares beside widths, and whether their ranks are ordered."""


@dataclass(frozen=True)
class Parameter:
    """One dimension of the search.

    Attributes:
        name: as Optuna and MLflow show it.
        choices: how many ranks it has.
        ordered: whether neighbouring ranks are alike; else it is categorical.
    """

    name: str
    choices: int
    ordered: bool


@dataclass(frozen=True)
class Decoded:
    """n configurations as columns.

    Attributes:
        widths: int64 [n, groups].
        saliency: int64 [n], rank in the space's list.
        backend: int64 [n], rank in the list of backends.
        activation_bits: int64 [n].
        weight_bits: int64 [n, ops].
        schedule, method, drop_blocks: int64 [n], ranks in the space's lists.
        sparsity: float64 [n], share of zeros in all weights.
        zeros: float64 [n, ops], share of zeros in the weights of each operator of the layout.
        pattern: int64 [n], rank in the space's list.
        clusters: int64 [n], distinct values of each layer's weights at most; 0 is any number.
        shared: int64 [n, ops], the same of each operator of the layout.
        qat: int64 [n], 1 or 0.
        trainer, distillation: int64 [n], ranks in the space's lists.
    """

    widths: Ints
    saliency: Ints
    backend: Ints
    activation_bits: Ints
    weight_bits: Ints
    schedule: Ints
    sparsity: Floats
    zeros: Floats
    pattern: Ints
    clusters: Ints
    shared: Ints
    qat: Ints
    trainer: Ints
    method: Ints
    drop_blocks: Ints
    distillation: Ints

    def __len__(self) -> int:
        return len(self.widths)


@dataclass(frozen=True)
class Ranks:
    """The search space of one model: parameters, and what each rank means.

    Args:
        space: what may vary.
        layout: what of the model can.
        backends: those to choose from.
    """

    space: Space
    layout: Layout
    backends: tuple[Backend, ...]
    parameters: tuple[Parameter, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.backends:
            raise SpaceError(
                "no backend runs this model; see the refusals above, or name others in backends=."
            )
        space, levels = self.space, len(self.space.pruning_ratio)
        each = levels if "per-group" in space.ratios else 1
        names = [Parameter(f"prune/{g}", each, True) for g, _, _ in self.layout.groups]
        names += [Parameter("multiple_of", len(space.multiple_of), True)]
        names += [Parameter("saliency", len(space.saliency), False)]
        names += [Parameter("backend", len(self.backends), False)]
        names += [Parameter("activation_bits", len(space.activation_bits), True)]
        names += [
            Parameter(f"bits/{op}", len(space.weight_bits), True) for op, _, _ in self.layout.ops
        ]
        names += [Parameter(n, len(getattr(space, n)), o) for n, o in TRAINING.items()]
        names += [Parameter("ratios", len(space.ratios), False)]
        names += [Parameter("prune", levels if "global" in space.ratios else 1, True)]
        object.__setattr__(self, "parameters", tuple(names))

    @property
    def choices(self) -> Ints:
        """int64 [parameters]: how many ranks each has."""
        return np.array([p.choices for p in self.parameters], np.int64)

    @cached_property
    def _dropped(self) -> tuple[tuple[str, ...], ...]:
        """Per choice of ``drop_blocks`` the blocks."""
        return tuple(depth.dropped for depth in self.layout.depths) or ((),)

    def random(self, rng: np.random.Generator, n: int) -> Ints:
        """int64 [n, parameters]: ranks drawn uniformly."""
        return rng.integers(0, self.choices, (n, len(self.parameters)))

    def pruned(self, rng: np.random.Generator, n: int) -> Ints:
        """int64 [n, parameters]: random ranks around a random overall pruning level a row.

        Independent ratios all average to the same model size; a common level a row spreads the
        draws from the full network to the smallest. Where sensitivities are known, so many of the
        least sensitive operators have low bits in a row.
        """
        ranks = self.random(rng, n)
        groups = len(self.layout.groups)
        most = len(self.space.pruning_ratio) - 1
        level = rng.uniform(0, most, (n, 1))
        drawn = np.clip(np.rint(level + rng.normal(0, 1, (n, groups))), 0, most).astype(np.int64)
        ranks[:, :groups] = np.minimum(drawn, self.choices[:groups] - 1)
        if self.layout.sensitivity:
            bits = self.space.weight_bits
            place = np.argsort(self.layout.lowered_first)
            low = place < rng.integers(0, len(place) + 1, (n, 1))
            first = groups + 4
            ranks[:, first : first + len(place)] = np.where(
                low, bits.index(min(bits)), bits.index(max(bits))
            )
        return ranks

    def narrowest(self, ranks: Ints) -> Ints:
        """int64 [n, parameters]: the rows, with all groups pruned as far as the space goes."""
        pruned = [p.name.partition("/")[0] == "prune" for p in self.parameters]
        return np.where(pruned, self.choices - 1, ranks)

    def decode(self, ranks: Ints) -> Decoded:
        """What n rows of ranks mean."""
        space = self.space
        at = {p.name: ranks[:, i] for i, p in enumerate(self.parameters)}
        saliency, schedule, method = at["saliency"], at["schedule"], at["method"]
        widths = self._widths(ranks, at)
        # Gates rank nothing, keep all blocks and single weights: rows that mean the same decode
        # alike.
        gated = np.array(space.method)[method] == "differentiable"
        drop_blocks = np.where(gated, 0, at["drop_blocks"])
        saliency, schedule = np.where(gated, 0, saliency), np.where(gated, 0, schedule)
        activation, backend = at["activation_bits"], at["backend"]
        activation_bits = np.empty(len(ranks), np.int64)
        weight_bits = np.full((len(ranks), len(self.layout.ops)), 8, np.int64)
        for rank, runtime in enumerate(self.backends):
            rows = backend == rank
            supported = [b for b in space.activation_bits if b in runtime.activation_bits]
            activation_bits[rows] = _among(supported, activation[rows], len(space.activation_bits))
            for i, (op, kind, _) in enumerate(self.layout.ops):
                # Weights below 8 bits need 8-bit activations in every runtime here.
                runs = runtime.weight_bits.get(kind, (8,))
                supported = [b for b in space.weight_bits if b in runs] or [8]
                drawn = _among(supported, at[f"bits/{op}"][rows], len(space.weight_bits))
                weight_bits[rows, i] = np.where(activation_bits[rows] == 8, drawn, 8)
        # Ranks that make no difference are those of the first choice: equal means equal.
        sparsity = np.where(gated, 0.0, np.array(space.sparsity, np.float64)[at["sparsity"]])
        pattern = np.where(sparsity > 0, at["pattern"], 0)
        halved = (np.array(space.pattern)[pattern] == "2:4") & (sparsity > 0)
        sparsity = np.where(halved, 0.5, sparsity)
        clusters = np.where(gated, 0, np.array(space.clusters, np.int64)[at["clusters"]])
        qat = np.array(space.qat)[at["qat"]] & (activation_bits == 8) & ~gated
        any_of = (sparsity > 0) | (clusters > 0) | qat
        if self.layout.depths:
            groups, ops = self.layout.has
            full = np.array([width for _, width, _ in self.layout.groups], np.int64)
            widths = np.where(groups[drop_blocks], widths, full)
            weight_bits = np.where(ops[drop_blocks], weight_bits, 8)
        return Decoded(
            widths, saliency, backend, activation_bits, weight_bits, schedule,
            sparsity, self._zeros(sparsity, pattern, at["sparsity"]), pattern,
            clusters, self._shared(clusters), qat.astype(np.int64),
            np.where(any_of, at["trainer"], 0), method, drop_blocks,
            at["distillation"],
        )  # fmt: skip

    def _zeros(self, sparsity: Floats, pattern: Ints, rank: Ints) -> Floats:
        """float64 [n, ops] of n sparsities, patterns, and ranks in the space's list."""
        each = sparsity[:, None] * self._treated
        if not self.layout.zeros:
            return each
        is_spread = (sparsity > 0) & (np.array(self.space.pattern)[pattern] == "any")
        return np.where(is_spread[:, None], np.array(self.layout.zeros)[rank], each)

    def _shared(self, clusters: Ints) -> Ints:
        """int64 [n, ops] of n numbers of values."""
        return clusters[:, None] * self._treated

    @property
    def _treated(self) -> Ints:
        """int64 [ops]: 1 where training gives an operator's weights zeros and shared values."""
        return np.array(self.layout.treated or (True,) * len(self.layout.ops), np.int64)

    def _widths(self, ranks: Ints, at: Mapping[str, Ints]) -> Ints:
        """int64 [n, groups], rounded; rows of ranks, and the same by parameter."""
        groups, space = len(self.layout.groups), self.space
        full = np.array([w for _, w, _ in self.layout.groups], np.int64).reshape(1, groups)
        least = np.array([w for _, _, w in self.layout.groups], np.int64).reshape(1, groups)
        ratio = np.array(space.pruning_ratio)
        kept = full * (1 - ratio[ranks[:, :groups]])
        if "global" in space.ratios:
            together = np.array(self.layout.together).reshape(len(space.saliency), -1, groups)
            one = np.array(space.ratios)[at["ratios"]] == "global"
            kept = np.where(one[:, None], together[at["saliency"], at["prune"]], kept)
        step = np.array(space.multiple_of, np.int64)[at["multiple_of"]][:, None]
        rounded = np.maximum(np.rint(kept / step).astype(np.int64), 1) * step
        return np.where(kept == full, full, np.clip(rounded, least, full))

    def configuration(self, ranks: Ints | Sequence[int]) -> Configuration:
        """The configuration of one row of ranks."""
        return self.configurations(self.decode(np.asarray(ranks, np.int64).reshape(1, -1)))[0]

    def configurations(self, decoded: Decoded) -> list[Configuration]:
        """n columns as n configurations."""
        elementwise = (decoded.sparsity > 0) | (decoded.clusters > 0) | (decoded.qat > 0)
        return [
            Configuration(
                tuple(map(int, decoded.widths[i])),
                self.space.saliency[decoded.saliency[i]],
                self.backends[decoded.backend[i]].name,
                int(decoded.activation_bits[i]),
                tuple(map(int, decoded.weight_bits[i])),
                self.space.schedule[decoded.schedule[i]],
                float(decoded.sparsity[i]),
                self.space.pattern[decoded.pattern[i]],
                int(decoded.clusters[i]),
                bool(decoded.qat[i]),
                self.space.trainer[decoded.trainer[i]] if elementwise[i] else "keras",
                method=self.space.method[decoded.method[i]],
                dropped=self._dropped[decoded.drop_blocks[i]],
                distillation=float(self.space.distillation[decoded.distillation[i]]),
            )
            for i in range(len(decoded))
        ]

    def columns(self, configurations: Sequence[Configuration]) -> Decoded:
        """n configurations as columns."""
        names = [b.name for b in self.backends]
        n, space = len(configurations), self.space
        sparsity = np.array([c.sparsity for c in configurations], np.float64)
        pattern = np.array([space.pattern.index(c.pattern) for c in configurations], np.int64)
        clusters = np.array([c.clusters for c in configurations], np.int64)
        rank = [space.sparsity.index(s) if s in space.sparsity else 0 for s in sparsity]
        return Decoded(
            np.array([c.widths for c in configurations], np.int64).reshape(
                n, len(self.layout.groups)
            ),
            np.array([self.space.saliency.index(c.saliency) for c in configurations], np.int64),
            np.array([names.index(c.backend) for c in configurations], np.int64),
            np.array([c.activation_bits for c in configurations], np.int64),
            np.array([c.weight_bits for c in configurations], np.int64).reshape(
                n, len(self.layout.ops)
            ),
            np.array([self.space.schedule.index(c.schedule) for c in configurations], np.int64),
            sparsity,
            self._zeros(sparsity, pattern, np.array(rank, np.int64)),
            pattern,
            clusters,
            self._shared(clusters),
            np.array([c.qat for c in configurations], np.int64),
            np.array(
                [
                    space.trainer.index(c.trainer) if c.is_elementwise else 0
                    for c in configurations
                ],
                np.int64,
            ),
            np.array([self.space.method.index(c.method) for c in configurations], np.int64),
            np.array([self._dropped.index(c.dropped) for c in configurations], np.int64),
            np.array([space.distillation.index(c.distillation) for c in configurations], np.int64),
        )

    def names(self, ranks: Ints | Sequence[int]) -> dict[str, int]:
        """One row of ranks by parameter name, as Optuna takes them."""
        return {p.name: int(r) for p, r in zip(self.parameters, ranks, strict=True)}

    def leaves(self, configuration: Configuration) -> list[Configuration]:
        """Every (bits, backend) that one training of this structure can serve.

        Bits go from all high to all low by one operator at a time, the least sensitive first
        (:attr:`Layout.lowered_first`), so that their number stays linear; the configuration's own
        bits are among them. A training that met its bits (QAT) serves these alone; of a
        differentiable one they are leaves of the training that it asks for.
        """
        order = self.layout.lowered_first
        found = {configuration.digest: configuration}
        for runtime in self.backends:
            for activation in self.space.activation_bits:
                if activation not in runtime.activation_bits:
                    continue
                for lowered in range(len(order) + 1):
                    bits = [max(self.space.weight_bits)] * len(order)
                    for i in order[:lowered]:
                        bits[i] = min(self.space.weight_bits)
                    leaf = self._supported(configuration, runtime, activation, bits)
                    if leaf.structure == configuration.structure and self._has(leaf):
                        found.setdefault(leaf.digest, leaf)
        return list(found.values())

    def _has(self, leaf: Configuration) -> bool:
        """Whether some ranks decode to a leaf: where QAT is no choice, 8 bits have it or not."""
        if leaf.method == "differentiable":
            return True
        return leaf.activation_bits != 8 or leaf.qat in self.space.qat

    def _supported(
        self, structure: Configuration, runtime: Backend, activation: int, bits: Sequence[int]
    ) -> Configuration:
        """A leaf whose bits are those asked for where the backend runs them, else 8."""
        has = self._ops(structure)
        runs = (
            b if b in runtime.weight_bits.get(kind, (8,)) and activation == 8 and i in has else 8
            for i, (b, (_, kind, _)) in enumerate(zip(bits, self.layout.ops, strict=True))
        )
        return structure.leaf(runtime.name, activation, tuple(runs))

    def _ops(self, configuration: Configuration) -> Collection[int]:
        """Indexes of the operators that a configuration has."""
        depth = self.layout.depth(configuration.dropped)
        return range(len(self.layout.ops)) if depth is None else depth.ops

    def ranks(self, configuration: Configuration, like: Sequence[int]) -> list[int]:
        """Ranks that decode to a leaf of the configuration that ``like`` stands for."""
        ranks, space, has = list(like), self.space, self._ops(configuration)
        place = {p.name: i for i, p in enumerate(self.parameters)}
        names = [b.name for b in self.backends]
        runtime = self.backends[names.index(configuration.backend)]
        ranks[place["backend"]] = names.index(runtime.name)
        supported = [b for b in space.activation_bits if b in runtime.activation_bits]
        ranks[place["activation_bits"]] = _rank(
            supported, configuration.activation_bits, len(space.activation_bits)
        )
        for i, (op, kind, _) in enumerate(self.layout.ops):
            runs = runtime.weight_bits.get(kind, (8,))
            supported = [b for b in space.weight_bits if b in runs] or [8]
            if configuration.activation_bits == 8 and i in has:
                ranks[place[f"bits/{op}"]] = _rank(
                    supported, configuration.weight_bits[i], len(space.weight_bits)
                )
        if configuration.qat in space.qat and configuration.method == "structured":
            ranks[place["qat"]] = space.qat.index(configuration.qat)
        return ranks


def _among(supported: Sequence[int], ranks: Ints, choices: int) -> Ints:
    """Ranks of 0 … choices-1 spread over the supported values."""
    return np.array(supported, np.int64)[ranks * len(supported) // choices]


def _rank(supported: Sequence[int], value: int, choices: int) -> int:
    """The lowest rank that :func:`_among` takes to ``value``."""
    return -(-supported.index(value) * choices // len(supported))


def as_row(parameters: Mapping[str, int], order: Sequence[Parameter]) -> list[int]:
    """Optuna's parameters as a row of ranks; a parameter that is missing is rank 0."""
    return [int(parameters.get(p.name, 0)) for p in order]
