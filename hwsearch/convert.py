"""Models in and out of files: .keras and .h5 in, float32 ``.tflite`` with a batch of 1 out."""

from __future__ import annotations

import contextlib
import re
import warnings
from pathlib import Path
from types import FunctionType
from typing import Any

import keras
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from hwsearch import archive
from hwsearch.errors import ConversionError, ModelFileError
from hwsearch.graph import flatbuffer, keras_channels
from hwsearch.quiet import silence

SIGNATURE = "serving_default"
"""Name of the one signature of every file that :func:`to_float_tflite` writes."""


def load_model(path: str | Path, trusted: bool = False) -> keras.Model:
    """The Keras 3 model in a ``.keras`` or ``.h5`` file, compiled if that can be restored.

    Args:
        path: of the file.
        trusted: run the code that the file carries (lambdas). Otherwise Keras' safe mode stays on
            and a file with code is refused: whoever made it could do anything here.

    Raises:
        ModelFileError: no such file, another kind of file, damaged, made by Keras 2 in a way that
            Keras 3 cannot read, with code, or with classes that are not registered; an archive
            whose names lead out of it or that unpacks to far more than it is.
    """
    path = Path(path)
    if path.suffix not in (".keras", ".h5"):
        raise ModelFileError(
            f"{path} is not a .keras or .h5 file. Save the model with model.save('model.keras')."
        )
    if not path.is_file():
        raise ModelFileError(f"there is no file {path}.")
    archive.check(path, ModelFileError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):
            with silence():  # TensorFlow looks for a GPU when it makes its first variable
                return keras.models.load_model(path, safe_mode=not trusted)
        try:  # .h5 files name losses in ways that Keras 3 no longer knows; the network is whole
            return keras.models.load_model(path, compile=False, safe_mode=not trusted)
        except Exception as error:
            if not trusted and re.search("[Ll]ambda", str(error)):
                raise ModelFileError(
                    f"{path} carries Python code, in a lambda, which would run as it is loaded. "
                    "Make the lambda a layer; or, if you trust whoever made the file: "
                    "hwsearch optimize --trust-model, or in Python pass the model that "
                    "keras.models.load_model(path, safe_mode=False) gives."
                ) from error
            raise ModelFileError(
                f"{path} cannot be read as a Keras 3 model: {_reason(error)} Expected a file that "
                "keras.models.load_model opens. Custom classes need "
                "@keras.saving.register_keras_serializable() and their module imported."
            ) from error


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a ``.keras`` file that needs :func:`lambdas` to be read.

    Code stays out of it: as bytecode, which Keras would write, a lambda loses its module, and
    with that whatever it calls.
    """
    renamed = {code: name for name, code in lambdas(model).items()}
    kept = {code: code.__name__ for code in renamed}
    try:
        for code, name in renamed.items():
            code.__name__ = name
        model.save(path)
    finally:
        for code, name in kept.items():
            code.__name__ = name


def lambdas(model: keras.Model) -> dict[str, FunctionType]:
    """The functions of a model's Lambda layers, by the names that :func:`save_model` writes."""
    found: dict[str, FunctionType] = {}
    for _, layer in keras_channels.layers(model):
        if isinstance(layer, keras.layers.Lambda):
            for code in (layer.function, layer.mask, layer._output_shape):
                if isinstance(code, FunctionType) and code not in found.values():
                    name = keras.saving.get_registered_name(code)
                    taken = name == "<lambda>" or name in found
                    found[f"{name.strip('<>')}-{len(found)}" if taken else name] = code
    return found


def names(model: keras.Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(input names, output names) of a model, in the order of ``model.inputs`` and ``.outputs``.

    Dictionary keys where the model takes or gives dictionaries, else names of layers; made
    unique by ``_1``, ``_2`` … These are the names in the signature of its ``.tflite``.
    """
    core = keras_channels.functional(model)
    return _unique(core.input), _unique(core.output)


def to_float_tflite(model: keras.Model) -> bytes:
    """The model as a float32 ``.tflite``: batch 1, inputs and outputs in the model's order.

    It has one signature, :data:`SIGNATURE`, with the names that :func:`names` gives. Variables
    are frozen to constants before conversion; nothing is printed.

    Raises:
        ModelError: the model is subclassed, unbuilt, of open shape, or holds NaN.
        ConversionError: the converter failed, or an operator needs TensorFlow at run time.
    """
    keras_channels.check_model(model)
    if keras.backend.backend() != "tensorflow":
        raise ConversionError(
            f"Keras runs on {keras.backend.backend()!r}, conversion needs TensorFlow. Set "
            "KERAS_BACKEND=tensorflow before Keras is imported."
        )
    try:
        with silence():
            content = _convert(model)
    except Exception as error:
        raise ConversionError(
            f"TensorFlow could not convert model {model.name!r}: {_reason(error)} If it names "
            "an operator, replace the layer that makes it by one that TensorFlow Lite has."
        ) from error
    return _signed(content, *names(model))


def _convert(model: keras.Model) -> bytes:
    core = keras_channels.functional(model)

    def call(*flat: Any) -> tuple[Any, ...]:
        inputs = keras.tree.pack_sequence_as(core.input, list(flat))
        outputs = core.call(inputs, training=False)  # not core(…): it insists on a fixed batch
        return tuple(tf.identity(tensor) for tensor in keras.tree.flatten(outputs))

    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=f"input_{i:03}")
        for i, tensor in enumerate(core.inputs)
    ]
    concrete = tf.function(call, autograph=False).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    # Freezing at once is four times faster than by way of a SavedModel, and makes the same
    # operators; lowered to a SavedModel the variables would stay operators of their own (TF 2.21).
    converter.experimental_lower_to_saved_model = False
    return bytes(converter.convert())


def _signed(content: bytes, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
    """The file with a signature; its inputs and outputs must be in the order of these names."""
    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    if len(graph.inputs) != len(inputs) or len(graph.outputs) != len(outputs):
        raise ConversionError(
            f"the converted file has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, "
            f"the model {len(inputs)} and {len(outputs)}. An input that nothing reads, or one "
            "that is also an output, must be removed from the model."
        )
    given = sorted(graph.inputs, key=lambda i: graph.tensors[i].name)  # input_000, input_001 …
    graph.inputs = given
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_named(n, i) for n, i in zip(inputs, given, strict=True)]
    signature.outputs = [_named(n, i) for n, i in zip(outputs, graph.outputs, strict=True)]
    model.signatureDefs = [signature]
    return flatbuffer.pack(model)


def _named(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(tensor)
    return entry


def _unique(tensors: Any) -> tuple[str, ...]:
    taken: dict[str, int] = {}
    unique = []
    for path, tensor in keras.tree.flatten_with_path(tensors):
        keys = [str(key) for key in path if isinstance(key, str)]
        name = "_".join(keys) or tensor._keras_history.operation.name
        taken[name] = taken.get(name, -1) + 1
        unique.append(f"{name}_{taken[name]}" if taken[name] else name)
    return tuple(unique)


def _reason(error: Exception) -> str:
    """The innermost reason in an error's text: one line that ends with a full stop."""
    text = str(error).rpartition("Exception encountered:")[2].strip()
    return (text.splitlines() or [type(error).__name__])[0][:300].rstrip(".") + "."
