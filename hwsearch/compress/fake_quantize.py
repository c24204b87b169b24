"""Activations as they will be quantized, in the forward pass of a Keras model.

What the artefact stores between two operators is rounded to 8 bits over its range, and the
gradient goes through unchanged inside the range (Jacob et al. 2018, arXiv:1712.05877, section 3).
A convolution, its BatchNormalization and its ReLU are one operator there, so only the last one's
output is rounded.

The artefact rounds a few tensors more, all to 8 bits over a range of their own: what enters a
sigmoid, tanh or softmax, what a softmax inside the network gives, the depthwise half of a
separable convolution, and averages of windows. Training does not meet those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from hwsearch.data import spaced
from hwsearch.graph import keras_channels
from hwsearch.graph.keras_channels import KINDS

CALIBRATED = 256
"""Samples on which ranges are taken anew before each epoch."""

_CLAMPS = ("relu", "relu6")
_SUMS = frozenset({"Add", "Subtract"})
_OTHERS = frozenset(
    {
        "ReLU", "LeakyReLU", "ELU", "Activation", "Add", "Subtract", "Multiply", "Average",
        "Maximum", "Minimum", "Concatenate", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
    }
)  # fmt: skip
_NOTHING = frozenset(
    {
        "Identity", "Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout",
        "ActivityRegularization", *(f"SpatialDropout{n}D" for n in (1, 2, 3)),
    }
)  # fmt: skip
"""Layers that the artefact does not have."""


class FakeQuantize:
    """The forward pass of a functional or Sequential model with its activations rounded.

    Args:
        core: the model.
    """

    def __init__(self, core: Any) -> None:
        self._core = keras_channels.functional(core)
        rounded = [op for _, op in keras_channels.layers(core) if is_rounded(op)]
        self._range = {
            id(op): (tf.Variable(0.0, trainable=False), tf.Variable(1.0, trainable=False))
            for op in rounded
        }
        count = len(self._core.inputs)
        self._inputs = [
            (tf.Variable(0.0, trainable=False), tf.Variable(1.0, trainable=False))
            for _ in range(count)
        ]

    def calibrate(self, inputs: Any) -> None:
        """Takes the ranges from the model as it is now, on some samples of the inputs."""
        seen: dict[int, list[tuple[float, float]]] = {}

        def look(op: Any, made: Any) -> Any:
            if id(op) in self._range:
                seen.setdefault(id(op), []).append(
                    (float(tf.reduce_min(made)), float(tf.reduce_max(made)))
                )
            return made

        first = tree.map_structure(lambda x: tf.convert_to_tensor(spaced(x, CALIBRATED)), inputs)
        for (low, high), values in zip(self._inputs, tree.flatten(first), strict=True):
            _set(low, high, float(tf.reduce_min(values)), float(tf.reduce_max(values)))
        self._run(self._core, first, look, False)
        for key, edges in seen.items():
            lows, highs = zip(*edges, strict=True)
            _set(*self._range[key], min(lows), max(highs))

    def __call__(self, inputs: Any) -> Any:
        """The outputs in training, in the structure of the model's."""
        flat = [
            _rounded(x, *edges)
            for x, edges in zip(tree.flatten(inputs), self._inputs, strict=True)
        ]

        def round_(op: Any, made: Any) -> Any:
            return _rounded(made, *self._range[id(op)]) if id(op) in self._range else made

        return self._run(self._core, tree.pack_sequence_as(inputs, flat), round_, True)

    def _run(self, core: Any, inputs: Any, after: Any, training: bool) -> Any:
        def of(op: Any) -> Any:
            if keras_channels.is_model(op):
                inner = keras_channels.functional(op)
                return lambda x, **_: self._run(inner, x, after, training)
            options = {"training": training} if getattr(op, "_call_has_training_arg", 0) else {}
            return lambda *a, **k: after(op, op(*a, **(k | options)))

        return core._run_through_graph(core._standardize_inputs(inputs), operation_fn=of)


def is_rounded(op: Any) -> bool:
    """Whether what a layer gives is stored: it computes, and no other layer is merged into it."""
    kind = type(op).__name__
    activation = getattr(getattr(op, "activation", None), "__name__", "linear")
    if (kind not in KINDS and kind not in _OTHERS) or activation == "softmax":
        return False
    makes = kind in KINDS and kind != "Embedding"
    if activation != "linear" or not (makes or kind in _SUMS):
        return True
    reader = _reader(op)
    follows = type(reader).__name__
    if folded(op) is not None:
        return False
    clamp = getattr(getattr(reader, "activation", None), "__name__", "")
    return not (follows == "ReLU" or (follows == "Activation" and clamp in _CLAMPS))


def folded(op: Any) -> Any:
    """The BatchNormalization that is folded into a layer, or None."""
    kind, activation = type(op).__name__, getattr(op, "activation", None)
    makes = kind in KINDS and kind not in ("Embedding", "BatchNormalization", "PReLU")
    reader = _reader(op)
    if not makes or type(reader).__name__ != "BatchNormalization":
        return None
    rank = len(op._inbound_nodes[0].outputs[0].shape)
    is_linear = getattr(activation, "__name__", "linear") == "linear"
    return reader if is_linear and reader.axis in (-1, rank - 1) else None


def _reader(op: Any) -> Any:
    """The one layer that reads what a layer gives, past those that only train; or None."""
    readers = [node.operation for node in op._outbound_nodes]
    if len(readers) != 1:
        return None
    return _reader(readers[0]) if type(readers[0]).__name__ in _NOTHING else readers[0]


def _rounded(values: Any, low: Any, high: Any) -> Any:
    return tf.quantization.fake_quant_with_min_max_vars(values, low, high, num_bits=8)


def _set(low: Any, high: Any, least: float, most: float) -> None:
    """A range holds 0, and is not empty."""
    low.assign(min(least, 0.0))
    high.assign(max(most, 0.0, min(least, 0.0) + float(np.finfo(np.float32).tiny) * 1e8))
