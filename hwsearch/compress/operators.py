"""Which operator of a ``.tflite`` computes with which kernel of the Keras model it was made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from hwsearch.graph.tflite import TfliteModel

SAME = 1e-4
"""Two kernels are the same when no weight differs by more of its channel's largest."""


def kernels_of(
    variables: Iterable[Any], float_tflite: TfliteModel, ops: Iterable[int]
) -> dict[int, Any]:
    """By operator its kernel, a Keras variable; those for which none is found are left out.

    A kernel is known by its weights. Conversion may have folded a BatchNormalization in: weights
    are compared up to a factor of each output channel.

    Args:
        variables: kernels of the Keras model, outputs last.
        float_tflite: what the model was converted to, with the same weights.
        ops: indexes of operators with weights.
    """
    known = [(v, _shape_free(np.moveaxis(v.numpy(), -1, 0))) for v in variables]
    found = {}
    for op in ops:
        own = _shape_free(float_tflite.constant(float_tflite.graph.ops[op].inputs[1]))
        alive = own.any(axis=1)  # a factor of 0 leaves nothing to compare
        for variable, values in known:
            if values.shape != own.shape or not alive.any():
                continue
            if np.abs(values - own)[alive].max(initial=0) < SAME:
                found[op] = variable
                break
    return found


def _shape_free(weights: Any) -> Any:
    """float32 [outputs, others]: absolute weights by the largest of their output channel."""
    flat = np.abs(np.asarray(weights, np.float32).reshape(len(weights), -1))
    most = flat.max(axis=1, initial=0, keepdims=True)
    return flat / np.where(most > 0, most, 1)
