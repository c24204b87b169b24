"""Weights in the order in which the kernels meet them (firmware/kernels/README.md, "Packing")."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PALETTE = 16
"""Distinct weights that a palette holds."""

STEP = 15
"""Values from one weight of a sparse row to the next at most; zeros bridge more."""


def order(values: int, depth: int, bits: int) -> NDArray[np.int64]:
    """int64: for each place of a patch the value that lies there, -1 is padding.

    Where ``depth`` is a multiple of four, four values lie as (0, 2, 1, 3): what unpacking a word
    gives.
    """
    whole = 4 if bits == 4 else 2
    places = -(-values // whole) * whole
    index = np.arange(places)
    index[values:] = -1
    if depth % 4 == 0:
        index = index.reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(-1)
    return index


def pack(weights: NDArray[Any], depth: int, bits: int, permute: bool = True) -> NDArray[np.int8]:
    """int8 [pairs of channels * groups * 4 (2 with int4)]: two channels of two values a group.

    Args:
        weights: int [channels, values], values in the order (row, column, input channel).
        depth: input channels.
        bits: 8 or 4.
        permute: whether the patch is filled by words (int8 kernels) or value by value.
    """
    grouped = _grouped(weights, depth if permute else 1, bits)
    if bits == 8:
        return np.ascontiguousarray(grouped).reshape(-1)
    # Two groups in four bytes: the first in the lower nibbles.
    nibbles = grouped.reshape(len(grouped), -1, 2, 4)
    low, high = nibbles[:, :, 0].astype(np.uint8) & 15, nibbles[:, :, 1].astype(np.uint8) & 15
    return np.ascontiguousarray(low | high << 4).reshape(-1).view(np.int8)


def palette(weights: NDArray[Any], depth: int) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """The distinct weights, and their places in that list in the order of :func:`pack`.

    Args:
        weights: int8 [channels, values] of at most 16 distinct values.
        depth: input channels.

    Returns:
        int8 [16], and int8 [pairs of channels * groups * 2]: two values of a channel a byte, the
        first in the lower nibble.
    """
    distinct, indices = np.unique(weights, return_inverse=True)
    values = np.zeros(PALETTE, np.int8)
    values[: len(distinct)] = distinct
    grouped = _grouped(indices.reshape(weights.shape), depth, 8).view(np.uint8)
    packed = grouped[:, :, 0] | grouped[:, :, 1] << 4
    return values, np.ascontiguousarray(packed).reshape(-1).view(np.int8)


def sparse(weights: NDArray[Any]) -> NDArray[np.uint8]:
    """The weights that are not zero, row by row; ``nn_sparse_conv_s8`` of nn.h tells the layout.

    Args:
        weights: int8 [channels, values].
    """
    parts = []
    for row in weights:
        steps, values = entries(row)
        fours = -(-len(steps) // 4)
        padded = np.zeros((2, 4 * fours), np.int64)
        padded[:, : len(steps)] = steps, values
        nibbles = padded[0].reshape(fours, 4)
        coded = np.empty((fours, 6), np.uint8)
        coded[:, :2] = nibbles[:, 0::2] | nibbles[:, 1::2] << 4
        coded[:, 2:] = padded[1].reshape(fours, 4).astype(np.int8).view(np.uint8)
        parts += [np.array([fours & 255, fours >> 8], np.uint8), coded.reshape(-1)]
    return np.concatenate(parts)


def entries(row: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(steps, values) of one row: what is not zero, and zeros wherever a step is over 15."""
    index = np.flatnonzero(row)
    steps = np.diff(index, prepend=0)
    bridges = np.maximum((steps - 1) // STEP, 0)
    ends = np.cumsum(bridges + 1) - 1
    made = np.full(len(index) + int(bridges.sum()), STEP)
    values = np.zeros(len(made), np.int64)
    made[ends] = steps - STEP * bridges
    values[ends] = row[index]
    return made, values


def _grouped(weights: NDArray[Any], depth: int, bits: int) -> NDArray[np.int8]:
    """int8 [pairs of channels, groups, k, channel]; padded with zeros."""
    channels, values = weights.shape
    places = order(values, depth, bits)
    even = np.zeros((channels + channels % 2, len(places)), np.int8)
    even[:channels] = np.where(places >= 0, weights[:, places], 0)
    return np.ascontiguousarray(even.reshape(len(even) // 2, 2, -1, 2).transpose(0, 2, 3, 1))


def even(values: NDArray[Any]) -> NDArray[Any]:
    """With a zero appended where the length is odd: kernels read two channels at a time."""
    return np.append(values, values.dtype.type(0)) if len(values) % 2 else values
