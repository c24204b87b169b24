"""Activations that layers read, of a Keras model run once on some samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.data import Array
from hwsearch.graph import keras_channels
from hwsearch.graph.keras_channels import KINDS


def read(model: Any, inputs: Sequence[Array]) -> list[tuple[str, NDArray[np.float32]]]:
    """(path, [samples, …, channels]) of each layer that sums over channels, each call of it.

    Args:
        model: a functional or Sequential Keras model; nested ones are entered.
        inputs: per model input an array [samples, …].
    """
    import keras

    path = keras_channels.paths(model)
    found: list[tuple[str, NDArray[np.float32]]] = []

    def watched(layer: Any) -> Callable[..., Any]:
        if keras_channels.is_model(layer):
            return lambda given, *_, **__: run(keras_channels.functional(layer), given)
        kind = KINDS.get(type(layer).__name__)
        if kind is None or kind.rule != "make":
            return layer

        def call(given: Any, *rest: Any, **named: Any) -> Any:
            found.append((path[id(layer)], np.asarray(given, np.float32)))
            return layer(given, *rest, **named)

        return call

    def run(core: Any, given: Any) -> Any:
        return core._run_through_graph(given, operation_fn=watched)

    core = keras_channels.functional(model)
    tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
    run(core, keras.tree.pack_sequence_as(core.input, tensors))
    return found
