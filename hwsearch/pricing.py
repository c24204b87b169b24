"""Pricing: what n configurations of one model cost, in microseconds each and without TensorFlow.

The base model is converted once and quantized once an activation width. A configuration only
resizes that quantized graph: its channel dimensions follow the widths of the groups, its weights
the bits. So topology, tensor order and the operators that quantization inserts are the real ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from hwsearch import estimation
from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.configuration import Configuration
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Band, BandColumns, Cost, CostColumns, Floats
from hwsearch.errors import BudgetError
from hwsearch.graph import WEIGHT_OPS, Graph
from hwsearch.graph.binding import Binding
from hwsearch.layout import Depth, Layout
from hwsearch.ranks import Decoded, Ranks

MIXED_KINDS = ("conv_2d", "fully_connected")
"""Operators whose weight bits may vary: those that a quantizer recipe can address."""


@dataclass(frozen=True)
class Scheme:
    """The base model quantized with one activation width.

    Attributes:
        graph: the quantized network.
        binding: which of its dimensions follow which channel group.
        weights: int64 [ops of the layout], the weight tensor of each.
        depth: where it lacks blocks of the layout's network: which.
    """

    graph: Graph
    binding: Binding
    weights: Ints
    depth: Depth | None = None

    def columns(self, decoded: Decoded, rows: Ints) -> Columns:
        """Some of n candidates, resized."""
        widths, weight_bits = decoded.widths[rows], decoded.weight_bits[rows]
        if self.depth is not None:
            widths = widths[:, list(self.depth.groups)]
            weight_bits = weight_bits[:, list(self.depth.ops)]
        bits = np.broadcast_to(Columns.of(self.graph).bits, (len(widths), len(self.graph.tensors)))
        if (weight_bits < 8).any():
            bits = bits.copy()
            bits[:, self.weights] = np.where(weight_bits < 8, weight_bits, bits[:, self.weights])
        ops = slice(None) if self.depth is None else list(self.depth.ops)
        sparsity = np.zeros((len(rows), len(self.graph.tensors)))
        sparsity[:, self.weights] = decoded.zeros[rows][:, ops]
        clusters = np.zeros(sparsity.shape, np.int64)
        clusters[:, self.weights] = decoded.shared[rows][:, ops]
        return Columns(self.graph, self.binding.shapes(widths), bits, sparsity, clusters)


@dataclass(frozen=True)
class Pricing:
    """What configurations of one model cost on one board.

    Attributes:
        board: where.
        ranks: the search space.
        schemes: by activation bits.
        shallow: the same of each choice of ``Space.drop_blocks`` that drops any.
    """

    board: Board
    ranks: Ranks
    schemes: dict[int, Scheme]
    shallow: dict[int, dict[int, Scheme]] = field(default_factory=dict)

    def price(self, decoded: Decoded) -> CostColumns:
        """The four costs of n configurations, in a batch a backend and activation width."""
        n = len(decoded)
        flash, ram = np.zeros(n, np.int64), np.zeros(n, np.int64)
        values: dict[str, Floats] = {}
        bands: dict[str, BandColumns] = {}
        for rank, backend in enumerate(self.ranks.backends):
            mine = decoded.backend == rank
            for choice, activation in product(np.unique(decoded.drop_blocks), self.schemes):
                alike = mine & (decoded.activation_bits == activation)
                rows = np.flatnonzero(alike & (decoded.drop_blocks == choice))
                if not len(rows):
                    continue
                scheme = self._schemes(int(choice))[activation]
                columns = scheme.columns(decoded, rows)
                found = estimation.costs(columns, backend, self.board)
                flash[rows], ram[rows] = found.flash_bytes, found.ram_bytes
                for name in ("latency_s", "energy_j", "cycles"):
                    part = getattr(found, name)
                    if part is not None:
                        values.setdefault(name, np.full(n, np.nan))[rows] = part
                for name, band in found.bands.items():
                    edges = bands.setdefault(name, BandColumns(np.zeros(n), np.zeros(n)))
                    edges.low[rows], edges.high[rows] = band.low, band.high
        return CostColumns(
            flash,
            ram,
            values.get("latency_s"),
            values.get("energy_j"),
            values.get("cycles"),
            bands,
        )

    def within(self, budget: Budget) -> Pricing:
        """With backends that store weights as a budget's limits of latency and energy allow."""
        column, found = [p.name for p in self.ranks.parameters].index("backend"), []
        full = np.zeros((1, len(self.ranks.parameters)), np.int64)
        ends = np.concatenate([full, self.ranks.narrowest(full)])  # a small one's band is wider
        for rank, backend in enumerate(self.ranks.backends):
            limited = getattr(backend, "within", None)
            if limited is not None:
                ends[:, column] = rank
                bands = self.price(self.ranks.decode(ends)).bands
                widest = {name: Band(b.low.min(), b.high.max(), "") for name, b in bands.items()}
                backend = limited(budget.most_cycles(self.board, widest))
            found.append(backend)
        return replace(self, ranks=Ranks(self.ranks.space, self.ranks.layout, tuple(found)))

    def knowing(self, costs: Iterable[str]) -> tuple[Pricing, list[str]]:
        """Without the backends that cannot tell one of these costs on this board, and why.

        A limit that cannot be judged would be none, and an unknown cost would look like the best.

        Args:
            costs: names of :data:`hwsearch.cost.cost.COSTS` that are limited or optimised.

        Raises:
            BudgetError: no backend can tell them.
        """
        costs, ranks = tuple(costs), self.ranks
        said, kept = [], []
        column = [p.name for p in ranks.parameters].index("backend")
        for rank, backend in enumerate(ranks.backends):
            row = np.zeros((1, len(ranks.parameters)), np.int64)
            row[0, column] = rank
            found = self.price(ranks.decode(row))
            unknown = [name for name in costs if getattr(found, name) is None]
            if unknown:
                names = " and ".join(name.rpartition("_")[0] for name in unknown)
                said.append(f"{backend.name} is left out: its {names} on {self.board.name} "
                            f"({self.board.core}) is not known.")  # fmt: skip
            else:
                kept.append(backend)
        if not kept:
            raise BudgetError(
                " ".join(said) + " Leave out that limit or objective, or name other backends."
            )
        if not said:
            return self, []
        return replace(self, ranks=Ranks(ranks.space, ranks.layout, tuple(kept))), said

    def columns(self, configuration: Configuration) -> Columns:
        """One configuration's resized network."""
        decoded = self.ranks.columns([configuration])
        scheme = self._schemes(int(decoded.drop_blocks[0]))[configuration.activation_bits]
        return scheme.columns(decoded, np.arange(1))

    def _schemes(self, choice: int) -> dict[int, Scheme]:
        """By activation bits those of a choice of ``Space.drop_blocks``."""
        return self.shallow.get(choice, self.schemes)

    def cost(self, configuration: Configuration) -> Cost:
        """One configuration's cost, broken down by operator."""
        names = [b.name for b in self.ranks.backends]
        backend = self.ranks.backends[names.index(configuration.backend)]
        return estimation.cost(self.columns(configuration), backend, self.board)


def layout(binding: Binding, graph: Graph) -> tuple[Layout, tuple[int, ...]]:
    """What of a float network can vary, and the operator index of each op of the layout.

    Of operators that share their weights (a layer that is called twice) the first one is listed.
    """
    widths = zip(binding.groups, binding.widths.tolist(), binding.least.tolist(), strict=True)
    found, indexes, seen = [], [], set()
    for i, op in enumerate(graph.ops):
        if op.kind not in MIXED_KINDS or op.inputs[1] in seen:
            continue
        weights = graph.tensors[op.inputs[1]]
        if weights.is_constant:
            found.append((f"{i}_{op.kind}", op.kind, weights.elements))
            indexes.append(i)
            seen.add(op.inputs[1])
    return Layout(tuple(widths), tuple(found)), tuple(indexes)


def scheme(
    quantized: Graph,
    binding: Binding,
    float_graph: Graph,
    op_indexes: tuple[int, ...],
    depth: Depth | None = None,
) -> Scheme:
    """The Scheme of a quantized network.

    Quantization inserts operators but keeps those with weights in their order, so the n-th
    of the float network is the n-th of the quantized one.
    """
    ordered = [i for i, op in enumerate(float_graph.ops) if op.kind in WEIGHT_OPS]
    weights = [op.inputs[1] for op in quantized.ops if op.kind in WEIGHT_OPS]
    chosen = [weights[ordered.index(i)] for i in op_indexes]
    bound = binding.onto(quantized, float_graph)
    return Scheme(quantized, bound, np.array(chosen, np.int64), depth)
