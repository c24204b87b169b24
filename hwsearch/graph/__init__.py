"""Networks without weights: what costs are computed from."""

from hwsearch.graph.graph import BITS, WEIGHT_OPS, Graph, Op, Tensor

__all__ = ["BITS", "WEIGHT_OPS", "Graph", "Op", "Tensor"]
