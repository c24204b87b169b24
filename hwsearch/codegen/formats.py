"""Which weights can be stored otherwise than one by one, and what there is to know of them.

Convolutions and dense layers of int8 activations and weights have kernels for every format.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwsearch.codegen.layers import FORMATS
from hwsearch.codegen.packing import PALETTE, entries
from hwsearch.cost.columns import Values
from hwsearch.errors import InputError
from hwsearch.graph import Graph
from hwsearch.graph.tflite import TfliteModel

KINDS = ("conv_2d", "fully_connected")

SLOWDOWN = 1.5
"""Cycles that a smaller image may take, as a multiple of those with dense weights: the default."""


def eligible(graph: Graph) -> tuple[int, ...]:
    """The operators whose weights may have any format."""
    return tuple(
        index
        for index, op in enumerate(graph.ops)
        if op.kind in KINDS
        and graph.tensors[op.inputs[1]].is_constant
        and graph.tensors[op.inputs[0]].dtype == graph.tensors[op.inputs[1]].dtype == "int8"
    )


def counted(model: TfliteModel) -> Values:
    """What the weights of a network are like; a row of one candidate."""
    tensors = len(model.graph.tensors)
    fours, distinct = np.zeros((1, tensors), np.int64), np.full((1, tensors), 256, np.int64)
    for index in eligible(model.graph):
        tensor = model.graph.ops[index].inputs[1]
        weights = model.constant(tensor)
        rows = weights.reshape(len(weights), -1)
        fours[0, tensor] = sum(-(-len(entries(row)[0]) // 4) for row in rows)
        distinct[0, tensor] = len(np.unique(weights))
    return Values(fours, distinct)


def checked(model: TfliteModel, formats: Mapping[int, str]) -> Mapping[int, str]:
    """The formats, where the weights can have them.

    Raises:
        InputError: they cannot.
    """
    able = eligible(model.graph)
    for index, name in formats.items():
        if name not in FORMATS:
            raise InputError(
                f"operator {index}: format {name!r} is unknown. Expected {', '.join(FORMATS)}."
            )
        if name == "dense":
            continue
        if index not in able:
            raise InputError(
                f"operator {index} cannot store its weights as {name}: that needs a convolution "
                "or dense layer with int8 activations and weights. Leave it dense."
            )
        distinct = len(np.unique(model.constant(model.graph.ops[index].inputs[1])))
        if name == "palette" and distinct > PALETTE:
            raise InputError(
                f"operator {index} has {distinct} distinct weights, a palette holds {PALETTE}. "
                "Cluster its weights, quantized per tensor, or leave it dense."
            )
    return formats
