"""A Keras 3 model built again with the layers of Keras 2 (tf_keras), and shown to be the same.

Imported by tfmot's worker alone. Configurations of whole models do not pass between the two; a
layer's does, once what only describes its making (initializers, dtype policies) is left out. What
then still differs shows in the predictions, which are compared each time.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import tf_keras

from hwsearch.compress.tfmot import twin_name
from hwsearch.errors import RefusedError
from hwsearch.graph import keras_channels

TOLERANCE = 1e-4
"""Largest difference of an output, relative to the largest output."""

_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}


class Twin:
    """The tf_keras model of a Keras 3 model.

    Args:
        model: functional or Sequential; its weights are copied.

    Attributes:
        model: of tf_keras, with the inputs and outputs flat and in order.
        layers: (layer of Keras 3, its twin), each once, those with weights.

    Raises:
        RefusedError: a layer has no twin: which.
    """

    def __init__(self, model: Any) -> None:
        self._twins: dict[int, Any] = {}
        self._values: dict[int, Any] = {}
        self._nodes: list[tuple[str, Any, Any]] = []
        self.layers: list[tuple[Any, Any]] = []
        core = keras_channels.functional(model)
        inputs = [tf_keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in core.inputs]
        outputs = self._walk(core, inputs, "")
        self.model = tf_keras.Model(inputs, outputs)
        for layer, twin in self.layers:
            twin.set_weights(layer.get_weights())

    def check(self, model: Any, inputs: list[Any]) -> None:
        """Nothing, if both predict the same.

        Raises:
            RefusedError: they do not: the first layer that differs.
        """
        given = inputs if len(inputs) > 1 else inputs[0]
        core = keras_channels.functional(model)
        packed = inputs if isinstance(core.input, list | tuple) else inputs[0]
        if isinstance(core.input, dict):
            packed = dict(zip(sorted(core.input), inputs, strict=True))
        theirs = _flat(model.predict(packed, verbose=0, batch_size=len(inputs[0])))
        ours = _flat(self.model.predict(given, verbose=0, batch_size=len(inputs[0])))
        if max(map(_difference, theirs, ours)) <= TOLERANCE:
            return
        layer = self._first(given, packed)
        raise RefusedError(f"built with Keras 2 the model predicts otherwise, from {layer} on")

    def _first(self, given: Any, packed: Any) -> str:
        """The first layer whose outputs differ."""
        import keras

        for path, original, tensor in self._nodes:
            core = self._core_inputs
            theirs = keras.Model(core, original).predict(packed, verbose=0)
            ours = tf_keras.Model(self.model.inputs, tensor).predict(given, verbose=0)
            if _difference(_flat(theirs)[0], _flat(ours)[0]) > TOLERANCE:
                return path
        return "an output"

    def _walk(self, core: Any, inputs: list[Any], prefix: str) -> list[Any]:
        """The twins of a graph's outputs; nested models are written out in place."""
        value = {id(t): x for t, x in zip(core.inputs, inputs, strict=True)}
        if not prefix:
            self._core_inputs = core.inputs
        for depth in sorted(core._nodes_by_depth, reverse=True):
            for node in core._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                layer = node.operation
                path = prefix + layer.name
                args, kwargs = node.arguments.fill_in(value)
                if keras_channels.is_model(layer):
                    inner = keras_channels.functional(layer)
                    made = self._walk(inner, _flat(args), f"{path}/")
                else:
                    kept = {k: v for k, v in kwargs.items() if v is not None}
                    made = _flat(self._twin(layer, path)(*args, **kept))
                    if not prefix:
                        kind = f"{path} ({type(layer).__name__})"
                        self._nodes.append((kind, node.outputs[0], made[0]))
                value.update((id(t), x) for t, x in zip(node.outputs, made, strict=True))
        return [value[id(t)] for t in core.outputs]

    def _twin(self, layer: Any, path: str) -> Any:
        found = self._twins.get(id(layer))
        if found is None:
            found = self._twins[id(layer)] = _built(layer, path)
            if layer.weights:
                self.layers.append((layer, found))
        return found


def _built(layer: Any, path: str) -> Any:
    kind = type(layer).__name__
    known = getattr(tf_keras.layers, kind, None)
    if known is None or ".layers." not in type(layer).__module__:
        raise RefusedError(f"layer {path}: Keras 2 has no {kind}")
    config = layer.get_config()
    constraints = [k for k, v in config.items() if k.endswith("_constraint") and v is not None]
    if constraints:
        raise RefusedError(f"layer {path} ({kind}) has a {constraints[0]}")
    takes = set()
    for one in known.__mro__:
        takes |= set(inspect.signature(one.__init__).parameters)
    given: dict[str, Any] = {}
    for key, value in config.items():
        key = _RENAMED.get((kind, key), key)
        if key not in takes or key.endswith(("_initializer", "_constraint")) or key == "dtype":
            continue
        if key.endswith("_regularizer") and value is not None:
            value = {"class_name": value["class_name"], "config": value["config"]}
        elif isinstance(value, dict):
            continue
        given[key] = value
    given["name"] = twin_name(path)
    try:
        made = known(**given)
    except (TypeError, ValueError) as error:
        raise RefusedError(f"layer {path}: Keras 2 cannot build this {kind}: {error}") from error
    made.trainable = layer.trainable
    return made


def _flat(values: Any) -> list[Any]:
    if isinstance(values, dict):
        return [x for key in sorted(values) for x in _flat(values[key])]
    if isinstance(values, list | tuple):
        return [x for value in values for x in _flat(value)]
    return [values]


def _difference(theirs: Any, ours: Any) -> float:
    largest = float(np.abs(theirs).max(initial=1e-30))
    return float(np.abs(np.asarray(theirs) - np.asarray(ours)).max(initial=0)) / largest
