"""Structured pruning: a smaller Keras 3 model without some channels, and the oracle for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsearch import convert
from hwsearch.errors import ModelError
from hwsearch.graph import binding, keras_channels
from hwsearch.graph.binding import Binding
from hwsearch.graph.groups import ChannelGroups
from hwsearch.graph.keras_channels import KINDS
from hwsearch.graph.tflite import TfliteModel

Keep = Mapping[str, ArrayLike]
Bools = NDArray[np.bool_]


def prune(model: keras.Model, groups: ChannelGroups, keep: Keep) -> keras.Model:
    """The model without the channels that are not kept: same layers and names, smaller weights.

    It computes what ``zeroed(model, groups, keep)`` computes. It is a new functional model that
    shares nothing with the old one and is not compiled; nested models stay nested.

    Args:
        model: the model that ``groups`` were read from.
        groups: its channel groups.
        keep: kept channel indexes, 0 to width - 1, per group name; a group left out stays whole.

    Raises:
        UnknownNameError: no such group.
        InputError: indexes out of range, repeated, or none.
        ModelError: a layer that cannot be made again from its configuration.
    """
    kept = groups.kept(keep)
    path = keras_channels.paths(model)
    copies: dict[int, Any] = {}

    def copy(layer: Any) -> Any:
        if id(layer) not in copies:
            if keras_channels.is_model(layer):
                copies[id(layer)] = rebuilt(layer)
            elif isinstance(layer, keras.Layer):
                copies[id(layer)] = _resized(layer, path[id(layer)], groups, kept)
            else:  # a keras.ops operation has no state
                copies[id(layer)] = layer
        return copies[id(layer)]

    def rebuilt(old: Any) -> keras.Model:
        core = keras_channels.functional(old)
        inputs = []
        for tensor in core.inputs:
            origin = path[id(tensor._keras_history.operation)]
            shape = _resized_shape(tensor.shape, groups.channels.get(origin), kept)
            name = tensor._keras_history.operation.name
            inputs.append(keras.Input(batch_shape=shape, dtype=tensor.dtype, name=name))
        inputs = keras.tree.pack_sequence_as(core.input, inputs)
        outputs = core._run_through_graph(inputs, operation_fn=copy)
        return keras.Model(inputs, outputs, name=old.name)

    pruned = rebuilt(model)
    for layer in _layers(model):
        if not keras_channels.is_model(layer):
            _set_weights(copies.get(id(layer)), layer, path[id(layer)], groups, kept)
    return pruned


def zeroed(model: keras.Model, groups: ChannelGroups, keep: Keep) -> keras.Model:
    """The model at full size in which nothing reads the channels that are not kept.

    In every layer that sums over channels (convolution, dense …) the weights that meet a removed
    channel are 0. It is the oracle for :func:`prune`; same arguments and errors.
    """
    kept = groups.kept(keep)
    copy = prune(model, groups, {})
    for path, layer in keras_channels.layers(copy):
        kind = KINDS.get(type(layer).__name__)
        if kind is None or kind.rule != "make" or path not in groups.channels:
            continue
        for weight in layer.weights:
            values = weight.numpy()
            for axis, mask in _masks(layer, weight, path, groups, kept, ("in",)).items():
                shape = [1] * values.ndim
                shape[axis] = -1
                values = values * mask.reshape(shape)
            weight.assign(values)
    return copy


def cloned(model: Any) -> Any:
    """A model of the same layers with weights of its own, drawn anew, that is not compiled: Keras
    would look up a loss of the caller's by its name, and find none."""
    compiled, model.compiled = model.compiled, False
    try:
        return keras.models.clone_model(model, clone_function=again)
    finally:
        model.compiled = compiled


def again(layer: Any, config: dict[str, Any] | None = None) -> Any:
    """A new layer of a configuration, by default the layer's own; not built, without weights.

    A Lambda keeps its function as it is: that is code which this process has loaded already, so
    nothing of a file runs, and the function still sees the module that it was written in. Made
    from its configuration it would do neither: Keras refuses in safe mode, which is on by default.
    """
    config = layer.get_config() if config is None else config
    if isinstance(layer, keras.layers.Lambda):
        code = {"function": layer.function, "arguments": layer.arguments, "mask": layer.mask}
        return type(layer)(**config | code | {"output_shape": layer._output_shape})
    return type(layer).from_config(config)


def bind(model: keras.Model, groups: ChannelGroups) -> tuple[TfliteModel, Binding]:
    """The converted model, and the shapes of its tensors for any widths of its groups.

    Converts the model and about three narrower copies. What the converter makes of a model may
    depend on weights that are exactly 0 or equal, so the model should be trained.

    Raises:
        ConversionError: the converter failed, or shapes do not follow from widths.
    """

    def converted(keep: Keep) -> bytes:
        return convert.to_float_tflite(prune(model, groups, keep) if keep else model)

    return binding.bind(groups, converted)


def _layers(model: keras.Model) -> list[Any]:
    return list({id(layer): layer for _, layer in keras_channels.layers(model)}.values())


def _resized_shape(
    shape: tuple[int | None, ...], channels: tuple[Any, Any] | None, kept: Bools
) -> tuple[int | None, ...]:
    """A shape whose last dimension counts only kept channels."""
    if channels is None or len(channels[1]) == 0:
        return tuple(shape)
    return (*shape[:-1], int(kept[channels[1]].sum()))


def _resized(layer: keras.Layer, path: str, groups: ChannelGroups, kept: Bools) -> keras.Layer:
    """A new layer of the same configuration that makes only kept channels; not yet built."""
    config = layer.get_config()
    kind = type(layer).__name__
    if path in groups.channels and type(layer).__module__.startswith("keras.src."):
        width = int(kept[groups.channels[path][1]].sum())
        if kind in KINDS and KINDS[kind].size:
            config[KINDS[kind].size] = width
        elif kind == "Reshape" and layer.target_shape[-1] != -1:
            config["target_shape"] = (*layer.target_shape[:-1], width)
    try:
        return again(layer, config)
    except Exception as error:
        raise ModelError(
            f"layer {path!r} ({kind}) cannot be made again from its configuration: {error}. "
            "Give the class get_config and from_config that keep all it needs."
        ) from error


def _set_weights(copy: Any, layer: Any, path: str, groups: ChannelGroups, kept: Bools) -> None:
    old = getattr(layer, "weights", [])
    if not old or copy is None:
        return
    values = []
    for weight in old:
        value = weight.numpy()
        for axis, mask in _masks(layer, weight, path, groups, kept).items():
            value = np.compress(mask, value, axis)
        values.append(value)
    shapes = [tuple(weight.shape) for weight in copy.weights]
    if shapes != [value.shape for value in values]:
        raise ModelError(
            f"layer {path!r} ({type(layer).__name__}) has weights of shapes {shapes} after "
            f"pruning, expected {[value.shape for value in values]}. Please report this model."
        )
    copy.set_weights(values)
    if hasattr(copy, "finalize_state"):  # preprocessing keeps constants made from its weights
        copy.finalize_state()


def _masks(
    layer: Any,
    weight: Any,
    path: str,
    groups: ChannelGroups,
    kept: Bools,
    sides: tuple[str, ...] = ("in", "mid", "out"),
) -> dict[int, Bools]:
    """Per axis of a weight that runs along channels: which of its entries stay."""
    kind = KINDS.get(type(layer).__name__)
    if kind is None or path not in groups.channels:
        return {}
    inside, outside = groups.channels[path]
    channels: dict[str, Callable[[], Any]] = {
        "in": lambda: inside,
        "mid": lambda: np.repeat(inside, layer.depth_multiplier),
        "out": lambda: outside,
    }
    return {
        axis: kept[channels[side]()]
        for axis, side in kind.weights.get(weight.name, {}).items()
        if side in sides and weight.shape[axis] == len(channels[side]())
    }
