"""The weights of a ``.tflite`` pruned or clustered where they lie, as compression leaves them.

Nothing is trained: sizes and instructions are those of trained networks, accuracy is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen.formats import eligible
from hwsearch.graph.tflite import TfliteModel, read

ROUNDS = 30
"""Of k-means; fewer where nothing moves."""


def rewritten(model: TfliteModel, weights: Mapping[int, NDArray[np.int8]]) -> bytes:
    """The file with these values in int8 constants."""
    content = bytearray(model.content)
    for tensor, values in weights.items():
        start, size = model._spans[tensor]
        content[start : start + size] = values.astype(np.int8).tobytes()
    return bytes(content)


def pruned(content: bytes, sparsity: float) -> bytes:
    """The share ``sparsity`` of every tensor's weights, those of least magnitude, set to zero."""

    def zeroed(values: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.int8]:
        size = np.abs(values.astype(np.float64)) * scale
        order = np.argsort(size.reshape(-1), kind="stable")
        made = values.reshape(-1).copy()
        made[order[: round(sparsity * values.size)]] = 0
        return made.reshape(values.shape)

    return _each(content, zeroed)


def clustered(content: bytes, clusters: int) -> bytes:
    """Every tensor's weights moved to the nearest of so many values (k-means of the integers)."""
    return _each(content, lambda values, _: nearest(values, clusters))


def nearest(values: NDArray[np.int8], clusters: int) -> NDArray[np.int8]:
    """Values by one-dimensional k-means, from quantiles on."""
    flat = values.reshape(-1).astype(np.float64)
    centres = np.unique(np.quantile(flat, (np.arange(clusters) + 0.5) / clusters))
    for _ in range(ROUNDS):
        which = np.abs(flat[:, None] - centres).argmin(axis=1)
        counts = np.bincount(which, minlength=len(centres))
        sums = np.bincount(which, flat, len(centres))
        moved = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    which = np.abs(flat[:, None] - centres).argmin(axis=1)
    return np.rint(centres)[which].astype(np.int8).reshape(values.shape)


def _each(
    content: bytes, change: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.int8]]
) -> bytes:
    """The file with the weights of every convolution and dense layer changed."""
    model = read(content)
    weights = {}
    for index in eligible(model.graph):
        tensor = model.graph.ops[index].inputs[1]
        values, quantization = model.constant(tensor), model.quantization[tensor]
        assert quantization is not None
        scale = quantization.scale.reshape(-1, *[1] * (values.ndim - 1))
        weights[tensor] = change(values, scale)
    return rewritten(model, weights)
