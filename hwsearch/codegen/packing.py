"""Weights in the order in which the kernels meet them (firmware/kernels/README.md, "Packing")."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    channels, values = weights.shape
    places = order(values, depth if permute else 1, bits)
    even = np.zeros((channels + channels % 2, len(places)), np.int8)
    even[:channels] = np.where(places >= 0, weights[:, places], 0)
    # [pair, channel, group, k] -> [pair, group, k, channel]
    grouped = even.reshape(len(even) // 2, 2, -1, 2).transpose(0, 2, 3, 1)
    if bits == 8:
        return np.ascontiguousarray(grouped).reshape(-1)
    # Two groups in four bytes: the first in the lower nibbles.
    nibbles = grouped.reshape(len(even) // 2, -1, 2, 4)
    low, high = nibbles[:, :, 0].astype(np.uint8) & 15, nibbles[:, :, 1].astype(np.uint8) & 15
    return np.ascontiguousarray(low | high << 4).reshape(-1).view(np.int8)


def even(values: NDArray[Any]) -> NDArray[Any]:
    """With a zero appended where the length is odd: kernels read two channels at a time."""
    return np.append(values, values.dtype.type(0)) if len(values) % 2 else values
