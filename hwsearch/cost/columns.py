"""Columns: n candidate sizings of one Graph; everything a cost is computed from, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwsearch.graph import BITS, WEIGHT_OPS, Graph

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_RANK = 4
"""Shapes are right-aligned and padded with leading ones to at least NHWC."""


@dataclass(frozen=True)
class Values:
    """What is known of the values of int8 weights; int64 [n, tensors] each.

    Attributes:
        fours: of the weights that are not zero, row by row (an output channel each), with a zero
            bridging every 15 that follow each other; 0 where weights have no such form.
        distinct: how many different values there are, 256 where that is not known.
    """

    fours: Ints
    distinct: Ints


@dataclass(frozen=True)
class Columns:
    """n candidates that share one topology and differ in sizes.

    Attributes:
        graph: the shared topology; its own shapes and dtypes are those of the unresized network.
        shapes: int64 [n, tensors, rank], right-aligned, padded with leading ones; so
            ``shapes[..., -1]`` is channels (of weights: those that they read).
        bits: int64 [n, tensors], bits of one element.
        sparsity: float64 [n, tensors], share of zeros in the weights of convolutions and dense
            layers; None is none.
        clusters: int64 [n, tensors], distinct values of each of these weight tensors, 0 is any
            number; None is any number.
        values: instead of both, what is known of weights that there are.
    """

    graph: Graph
    shapes: Ints
    bits: Ints
    sparsity: Floats | None = None
    clusters: Ints | None = None
    values: Values | None = None

    @classmethod
    def of(cls, graph: Graph, values: Values | None = None) -> Columns:
        """The network as it stands: one candidate; with what is known of its weights."""
        rank = max([MIN_RANK, *(len(t.shape) for t in graph.tensors)])
        shapes = [[1] * (rank - len(t.shape)) + list(t.shape) for t in graph.tensors]
        bits = [BITS[t.dtype] for t in graph.tensors]
        return cls(
            graph,
            np.array([shapes], np.int64).reshape(1, -1, rank),
            np.array([bits], np.int64),
            values=values,
        )

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self.shapes)

    def take(self, rows: Sequence[int] | Ints | NDArray[np.bool_]) -> Columns:
        """Only these candidates."""
        values = self.values
        return Columns(
            self.graph,
            self.shapes[rows],
            self.bits[rows],
            None if self.sparsity is None else self.sparsity[rows],
            None if self.clusters is None else self.clusters[rows],
            values and Values(values.fours[rows], values.distinct[rows]),
        )

    @cached_property
    def elements(self) -> Ints:
        """int64 [n, tensors]: elements of each tensor."""
        return self.shapes.prod(axis=-1)

    @cached_property
    def tensor_bytes(self) -> Ints:
        """int64 [n, tensors]: bytes of each tensor, sub-byte types packed, in whole bytes."""
        return -(-self.elements * self.bits // 8)

    @cached_property
    def macs(self) -> Ints:
        """int64 [n, ops]: multiply-accumulates of each operator, 0 where it has none."""
        macs = np.zeros((len(self), len(self.graph.ops)), np.int64)
        for i, op in enumerate(self.graph.ops):
            if op.kind not in WEIGHT_OPS:
                continue
            weights = self.shapes[:, op.inputs[1]]
            if op.kind == "transpose_conv":
                macs[:, i] = self.elements[:, op.inputs[2]] * weights[:, -4:-1].prod(axis=-1)
            elif op.kind == "depthwise_conv_2d":
                macs[:, i] = self.elements[:, op.outputs[0]] * weights[:, -3] * weights[:, -2]
            elif op.kind == "fully_connected":  # its weights are [units, inputs]
                macs[:, i] = self.elements[:, op.outputs[0]] * weights[:, -1]
            else:
                macs[:, i] = self.elements[:, op.outputs[0]] * weights[:, -3:].prod(axis=-1)
        return macs
