"""Network: whatever a caller has of a network (a file, a Keras model, an architecture), read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsearch.errors import ModelError
from hwsearch.graph import Graph
from hwsearch.graph.architecture import from_architecture
from hwsearch.graph.tflite import TfliteModel, read
from hwsearch.quiet import silence

KERAS_FILES = (".keras", ".h5")

CALIBRATION_INPUTS = 8
"""Generated; ranges move scales, and no cost depends on a scale."""


@dataclass(frozen=True)
class Network:
    """A network to be costed.

    Attributes:
        graph: the network.
        model: with its weights, where there are any: dead channels are known from them.
    """

    graph: Graph
    model: TfliteModel | None = None


def network(source: Any) -> Network:
    """The network of a source; TensorFlow is imported only for Keras models.

    Args:
        source: path of a ``.tflite``, ``.keras`` or ``.h5`` file, a Keras model, an architecture
            as a dict, a Graph, a TfliteModel, or a Network, which is given back.

    Raises:
        ModelFileError: a file or dict that is not a network.
        ModelError: a Keras model that is subclassed, unbuilt, of open shape, or holds NaN; or
            something else altogether.
        ConversionError: the converter failed on it.
    """
    if isinstance(source, Network):
        return source
    if isinstance(source, Graph):
        return Network(source)
    if isinstance(source, Mapping):
        return Network(from_architecture(source))
    if isinstance(source, str | Path) and Path(source).suffix in KERAS_FILES:
        with silence():  # TensorFlow greets whoever imports it
            from hwsearch.convert import load_model

            model = read(quantized(load_model(source)), str(source))
    elif isinstance(source, str | Path | bytes):
        model = read(source)
    elif isinstance(source, TfliteModel):
        model = source
    elif _is_keras(source):
        model = read(quantized(source), str(source.name))
    else:
        raise ModelError(
            f"a {type(source).__name__} is not a network. Expected the path of a .tflite, .keras "
            "or .h5 file, a Keras model, or an architecture as a dict."
        )
    return Network(model.graph, model)


def quantized(model: Any) -> bytes:
    """A Keras model as an int8 ``.tflite`` (weights and activations), on generated inputs."""
    from hwsearch.compress.quantize import calibrate, quantize
    from hwsearch.convert import names, to_float_tflite
    from hwsearch.data import Port, generated

    content = to_float_tflite(model)
    shapes = zip(names(model)[0], model.inputs, strict=True)
    ports = [Port(name, tuple(tensor.shape[1:])) for name, tensor in shapes]
    inputs = generated(ports, CALIBRATION_INPUTS, seed=0).inputs
    return quantize(calibrate(content, inputs), 8, {})


def _is_keras(source: Any) -> bool:
    """Whether it is a Keras model; whoever has one has imported Keras."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(source, keras.Model)
