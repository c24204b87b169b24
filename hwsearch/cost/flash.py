"""Bytes in flash: the ``.tflite`` file of each candidate, and the kernels that it links."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsearch.cost.columns import Columns, Ints
from hwsearch.graph import BITS, Graph

BUFFER_ALIGNMENT = 16
"""A ``.tflite`` aligns each tensor's data to 16 bytes (``schema.fbs``, ``force_align``)."""

_BIASED = frozenset({"conv_2d", "depthwise_conv_2d", "fully_connected"})

SCALE_BYTES = 12
"""Of one per-channel quantization scale: float32 scale and int64 zero point (``schema.fbs``)."""

QUANTIZATION_BYTES = 40
"""Of a tensor's quantization with one scale: table, two vectors and their lengths. A deployable
file keeps it for a bias with one scale, and leaves it out where there are many."""


@dataclass(frozen=True)
class _Constants:
    """The constants of a Graph: indexes, bytes in the file as it stands, scales a channel.

    ``dense`` is the weight tensor of the dense layer that a constant belongs to, else -1;
    ``bare`` is 1 for a bias whose scales were left out.
    """

    index: Ints
    bytes: Ints
    per_channel: Ints
    channels: Ints
    channel_axis: Ints
    dense: Ints
    bare: Ints
    fixed_bytes: int


@lru_cache(maxsize=64)
def _constants(graph: Graph) -> _Constants:
    index = [i for i, t in enumerate(graph.tensors) if t.is_constant]
    depthwise = {op.inputs[1] for op in graph.ops if op.kind == "depthwise_conv_2d"}
    dense_of = {
        i: op.inputs[1] for op in graph.ops if op.kind == "fully_connected" for i in op.inputs[1:]
    }
    biases = {op.inputs[2] for op in graph.ops if op.kind in _BIASED and len(op.inputs) > 2}
    rank = max([4, *(len(t.shape) for t in graph.tensors)])
    axes, channels, per_channel = [], [], []
    for i in index:
        tensor = graph.tensors[i]
        # A depthwise kernel [1, h, w, c] has a scale a channel along its last axis, other
        # kernels [c, …] and biases [c] along their first (TensorFlow Lite quantization spec).
        axis = rank - 1 if i in depthwise else rank - max(len(tensor.shape), 1)
        axes.append(axis)
        channels.append(tensor.shape[axis - rank] if tensor.shape else 1)
        per_channel.append(tensor.scales > 1)
    sizes = np.array([graph.tensors[i].constant_bytes for i in index], np.int64)
    return _Constants(
        np.array(index, np.int64),
        _padded(sizes),
        np.array(per_channel, np.int64),
        np.array(channels, np.int64),
        np.array(axes, np.int64),
        np.array([dense_of.get(i, -1) for i in index], np.int64),
        np.array([i in biases and graph.tensors[i].scales == 0 for i in index], np.int64),
        graph.file_bytes,
    )


def _padded(size: Ints) -> Ints:
    return -(-size // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT


def model_bytes(columns: Columns) -> Ints:
    """int64 [n]: size of each candidate's ``.tflite``.

    The file of the unresized network, less what its constants and their per-channel scales
    shrink by. Exact but for the padding between flatbuffer tables (tens of bytes), and for
    constants that happen to be equal in a narrow network and are then stored once.
    Without a file behind the Graph: the constants and their scales alone.
    """
    known = _constants(columns.graph)
    if not len(known.index):
        return np.full(len(columns), known.fixed_bytes, np.int64)
    new = _padded(columns.tensor_bytes[:, known.index])
    channels = columns.shapes[:, known.index, known.channel_axis]
    # A dense layer with 4-bit weights has one scale (TFLite Micro runs no other).
    low = (columns.bits[:, known.dense] == BITS["int4"]) & (known.dense >= 0)
    channels = np.where(low, 1, channels)
    scales = SCALE_BYTES * known.per_channel * (channels - known.channels)
    if known.fixed_bytes == 0:
        return (new + SCALE_BYTES * known.per_channel * channels).sum(axis=1)
    tables = QUANTIZATION_BYTES * known.bare * (channels == 1)
    return known.fixed_bytes + (new - known.bytes + scales + tables).sum(axis=1)


def weights_bytes(columns: Columns) -> Ints:
    """int64 [n]: bytes of all constants as they lie in flash, int4 packed, without scales."""
    known = _constants(columns.graph)
    return columns.tensor_bytes[:, known.index].sum(axis=1)


@dataclass(frozen=True)
class Kernels:
    """What the kernels of one runtime take of flash; from linked images.

    Attributes:
        runtime_bytes: of an image with the interpreter and no kernel, with start-up and vectors.
        kernel_bytes: per operator kind the bytes that registering it alone adds.
        shared_bytes: per operator kind how much of these it shares with every other such kernel;
            counted once in an image.
        pairs: further bytes that a set of kinds shares: counted once for each set present
            with at least two members.
        other_bytes: for a kind that was never linked: a typical kernel.
        source: what these were measured on.
    """

    runtime_bytes: int
    kernel_bytes: dict[str, int]
    shared_bytes: dict[str, int]
    pairs: tuple[tuple[frozenset[str], int], ...]
    other_bytes: int
    source: str

    def image_bytes(self, graph: Graph) -> int:
        """Bytes of an image with just this network's operator kinds, its model left out."""
        return self.kinds_bytes({op.kind for op in graph.ops})

    def kinds_bytes(self, kinds: Set[str]) -> int:
        """Bytes of an image with just these operator kinds, without a model."""
        total = self.runtime_bytes + sum(self.kernel_bytes.get(k, self.other_bytes) for k in kinds)
        shared = sorted((self.shared_bytes.get(k, 0) for k in kinds), reverse=True)
        total -= sum(shared[1:])
        for members, size in self.pairs:
            total -= size * max(0, len(members & kinds) - 1)
        return total
