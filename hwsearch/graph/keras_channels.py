"""A Keras 3 model as the coupling engine sees it; reads attributes only never imports Keras."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from hwsearch.errors import ModelError
from hwsearch.graph.groups import ChannelGroups, ChannelOp, Rule, couple

Side = Literal["in", "mid", "out"]


@dataclass(frozen=True, slots=True)
class LayerKind:
    """How a kind of layer that has weights uses channels.

    Attributes:
        rule: what it does to them.
        size: its configuration key that counts output channels, if it makes them.
        weights: per weight the axes that run along channels: of the input, of the output, or
            ``"mid"``: of the input, each repeated ``depth_multiplier`` times.
    """

    rule: Rule
    size: str = ""
    weights: Mapping[str, Mapping[int, Side]] = field(default_factory=dict)


_CONV = LayerKind("make", "filters", {"kernel": {-2: "in", -1: "out"}, "bias": {-1: "out"}})
_TRANSPOSE = LayerKind("make", "filters", {"kernel": {-1: "in", -2: "out"}, "bias": {-1: "out"}})
_SEPARABLE = LayerKind(
    "make",
    "filters",
    {
        "depthwise_kernel": {-2: "in"},
        "pointwise_kernel": {-2: "mid", -1: "out"},
        "bias": {-1: "out"},
    },
)
_DEPTHWISE = LayerKind("each", "", {"kernel": {-2: "in"}, "bias": {-1: "out"}})
KINDS: Mapping[str, LayerKind] = {
    **{f"Conv{n}D": _CONV for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": _TRANSPOSE for n in (1, 2, 3)},
    **{f"SeparableConv{n}D": _SEPARABLE for n in (1, 2)},
    **{f"DepthwiseConv{n}D": _DEPTHWISE for n in (1, 2)},
    "Dense": LayerKind("make", "units", _CONV.weights),
    "Embedding": LayerKind("make", "output_dim", {"embeddings": {-1: "out"}}),
    "BatchNormalization": LayerKind(
        "each",
        "",
        {name: {-1: "out"} for name in ("gamma", "beta", "moving_mean", "moving_variance")},
    ),
    "PReLU": LayerKind("each", "", {"alpha": {-1: "out"}}),
}
"""Layers with weights whose channels can be cut."""

_PASS = frozenset(
    {
        "Activation", "ReLU", "LeakyReLU", "ELU", "Identity", "Rescaling", "Resizing",
        "Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
        "CenterCrop", "RepeatVector",
        *(f"{name}{n}D" for n in (1, 2, 3) for name in (
            "SpatialDropout", "MaxPooling", "AveragePooling", "GlobalMaxPooling",
            "GlobalAveragePooling", "ZeroPadding", "Cropping", "UpSampling",
        )),
    }
)  # fmt: skip
_MERGE = frozenset({"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"})
_ELEMENTWISE = frozenset(
    {
        "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish",
        "sigmoid", "hard_sigmoid", "hard_silu", "hard_swish", "tanh", "hard_tanh", "softplus",
        "softsign", "exponential", "mish", "log_sigmoid", "squareplus", "soft_shrink",
        "hard_shrink", "tanh_shrink", "threshold", "sparse_plus",
    }
)  # fmt: skip
"""Activation functions of each element alone, as Keras and TensorFlow name them."""
_OPERATIONS = frozenset(
    {
        "Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum",
        "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Silu", "Sigmoid",
        "HardSigmoid", "HardSilu", "Tanh", "HardTanh", "Softplus", "Softsign", "Exp", "LogSigmoid",
        "Abs", "Absolute", "Negative", "Square", "Clip",
    }
)  # fmt: skip
"""``keras.ops`` of each element alone."""


def groups(model: Any) -> ChannelGroups:
    """The channel groups of a built Keras 3 model.

    Raises:
        ModelError: a model that :func:`check_model` refuses.
    """
    check_model(model)
    return couple(read(model))


def is_model(layer: Any) -> bool:
    """Whether a layer is a functional or Sequential model with a graph of its own."""
    return hasattr(layer, "_nodes_by_depth") or hasattr(layer, "_functional")


def functional(model: Any) -> Any:
    """The functional graph of a functional or Sequential model."""
    return getattr(model, "_functional", None) or model


def check_model(model: Any) -> None:
    """Nothing, if the model can be searched.

    Raises:
        ModelError: not a Keras 3 model; subclassed; not built; an input whose shape is open
            beyond the batch; weights that are NaN or infinite.
    """
    name = getattr(model, "name", "")
    what = f"{type(model).__module__}.{type(model).__name__}"
    if any(base.__module__.startswith("tf_keras") for base in type(model).__mro__):
        raise ModelError(
            f"model {name!r} is of Keras 2 (tf_keras), expected Keras 3. Save it with "
            "model.save('model.h5') and load that file with keras.models.load_model."
        )
    if not hasattr(model, "layers"):
        raise ModelError(f"expected a Keras 3 model, got {what}. Give a keras.Model or its file.")
    if hasattr(model, "_functional") and model._functional is None:
        raise ModelError(
            f"model {name!r} is not built, so its shapes are unknown. Begin it with "
            "keras.Input(shape) or call model.build((None, height, width, channels))."
        )
    if not is_model(model):
        raise ModelError(
            f"model {name!r} is subclassed ({what}): its layers do not say how they are "
            "connected. Expected a functional or Sequential model. Rebuild it as "
            "keras.Model(inputs, outputs)."
        )
    for tensor in model.inputs:
        if None in tuple(tensor.shape)[1:]:
            raise ModelError(
                f"input {tensor.name!r} of model {name!r} has the open shape {tensor.shape}; only "
                "the batch may be None. A microcontroller plans its memory before it runs: give "
                "keras.Input every dimension, e.g. (96, 96, 3)."
            )
    for path, layer in layers(model):
        for weight in getattr(layer, "weights", ()):
            values = weight.numpy()
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise ModelError(
                    f"weight {weight.name!r} of layer {path!r} holds NaN or infinity, so nothing "
                    "that is made from this model can be right. Train it again with a lower "
                    "learning rate."
                )


def layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, layer) of every layer and operation, those of nested models as ``model/layer``.

    A layer that several models share comes once for each, with the first path leading.
    """
    for layer in functional(model).operations:
        yield prefix + layer.name, layer
        if is_model(layer):
            yield from layers(layer, f"{prefix}{layer.name}/")


def paths(model: Any) -> dict[int, str]:
    """Path of each layer, by ``id(layer)``."""
    named: dict[int, str] = {}
    for path, layer in layers(model):
        named.setdefault(id(layer), path)
    return named


def read(model: Any) -> list[ChannelOp]:
    """The operators of a functional or Sequential model, nested models written out in place."""
    ops: list[ChannelOp] = []
    path = paths(model)
    numbers = itertools.count()

    def walk(core: Any, inputs: list[int]) -> list[int]:
        value = {id(t): i for t, i in zip(core.inputs, inputs, strict=True)}
        for depth in sorted(core._nodes_by_depth, reverse=True):
            for node in core._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                layer, reads = node.operation, [value[id(t)] for t in node.input_tensors]
                if is_model(layer):
                    inner = functional(layer)
                    starts = [next(numbers) for _ in reads]
                    for tensor, start, i in zip(inner.inputs, starts, reads, strict=True):
                        origin = path[id(tensor._keras_history.operation)]
                        ops.append(ChannelOp("each", origin, (i,), start, _width(tensor)))
                    makes = walk(inner, starts)
                else:
                    makes = [next(numbers) for _ in node.outputs]
                    ops.extend(_layer_ops(node, path[id(layer)], tuple(reads), makes))
                value.update((id(t), i) for t, i in zip(node.outputs, makes, strict=True))
        return [value[id(t)] for t in core.outputs]

    core = functional(model)
    starts = [next(numbers) for _ in core.inputs]
    for tensor, i in zip(core.inputs, starts, strict=True):
        ops.append(ChannelOp("freeze", tensor.name, (), i, _width(tensor), "network input"))
    for tensor, i in zip(core.outputs, walk(core, starts), strict=True):
        layer = path.get(id(tensor._keras_history.operation), tensor.name)
        ops.append(ChannelOp("freeze", layer, (i,), reason="network output"))
    return ops


def _width(tensor: Any) -> int:
    return int(tensor.shape[-1] or 0) if len(tensor.shape) > 1 else 0


def _layer_ops(
    node: Any, path: str, reads: tuple[int, ...], makes: list[int]
) -> Iterator[ChannelOp]:
    layer, width = node.operation, _width(node.outputs[0])
    rule, reason = _rule(node)
    if rule == "freeze":
        for tensor, i in zip(node.outputs, makes, strict=True):
            yield ChannelOp("freeze", path, reads, i, _width(tensor), reason)
        return
    yield ChannelOp(rule, path, reads, makes[0], width)
    if type(layer).__name__ in KINDS and not _is_elementwise(getattr(layer, "activation", None)):
        reason = f"activation {_name(layer.activation)!r} mixes channels or is unknown"
        yield ChannelOp("freeze", path, (makes[0],), reason=reason)


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _is_elementwise(function: Any) -> bool:
    home = str(getattr(function, "__module__", "")).partition(".")[0]
    known = home in ("keras", "tensorflow") and _name(function) in _ELEMENTWISE
    return function is None or known


def _rule(node: Any) -> tuple[Rule, str]:
    """What a call of a layer does to channels, and why if it freezes them."""
    layer, shapes = node.operation, [tuple(t.shape) for t in node.input_tensors]
    kind, rank = type(layer).__name__, len(node.outputs[0].shape)
    if not type(layer).__module__.startswith("keras.src."):
        return "freeze", f"{kind} is not a layer of Keras, what it does to channels is unknown"
    if ".layers." not in type(layer).__module__:
        return _operation_rule(node)
    if min([rank, *map(len, shapes)]) < 2 or len(node.outputs) != 1:
        return "freeze", f"{kind} with these inputs and outputs is not understood"
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return "freeze", f"{kind} is channels_first"
    if kind in KINDS:
        return _weighted_rule(layer, KINDS[kind], rank)
    scalars = [getattr(layer, name, 0) for name in ("scale", "offset")]
    if kind == "Rescaling" and any(np.ndim(scalar) for scalar in scalars):
        return "freeze", "Rescaling has a scale of its own for each channel"
    if kind == "Activation" and not _is_elementwise(layer.activation):
        return "freeze", f"activation {_name(layer.activation)!r} mixes channels or is unknown"
    if kind in _PASS or kind in _MERGE:
        return "tie", ""
    if kind == "Concatenate":
        return ("concat" if layer.axis in (-1, rank - 1) else "tie"), ""
    if kind in ("Flatten", "Reshape"):
        return _reshape_rule(shapes[0], node.outputs[0].shape)
    if kind == "Permute" and layer.dims[-1] == len(layer.dims):
        return "tie", ""
    return "freeze", f"{kind} needs all its channels, or what it does to them is unknown"


def _weighted_rule(layer: Any, kind: LayerKind, rank: int) -> tuple[Rule, str]:
    name = type(layer).__name__
    if getattr(layer, "groups", 1) != 1:
        return "freeze", f"{name} is grouped"
    if name == "BatchNormalization" and layer.axis not in (-1, rank - 1):
        return "freeze", f"{name} is not along the last dimension"
    strange = sorted({weight.name for weight in layer.weights} - kind.weights.keys())
    if strange:
        return "freeze", f"{name} has unusual weights: {', '.join(strange)}"
    return kind.rule, ""


def _reshape_rule(before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[Rule, str]:
    if None in before[1:] or None in after[1:] or 0 in before[1:]:
        return "freeze", "the shape is open"
    if math.prod(before[1:]) != math.prod(after[1:]):
        return "freeze", "the batch is reshaped"
    if before[-1] % after[-1] and after[-1] % before[-1]:
        return "freeze", f"a reshape from {before[1:]} to {after[1:]} tears channels apart"
    return "reshape", ""


def _operation_rule(node: Any) -> tuple[Rule, str]:
    """What ``keras.ops`` on symbolic tensors does; its other arguments must be plain numbers."""
    op, kind = node.operation, type(node.operation).__name__
    shapes = [tuple(t.shape) for t in node.input_tensors]
    rank = len(node.outputs[0].shape)
    if min([rank, *map(len, shapes)]) >= 2 and len(node.outputs) == 1:
        if kind in _OPERATIONS and len(shapes) + sum(
            isinstance(a, int | float) for a in node.arguments.args
        ) == len(node.arguments.args):
            return "tie", ""
        if kind == "Concatenate":
            return ("concat" if op.axis in (-1, rank - 1) else "tie"), ""
    return "freeze", f"operation {kind} needs all its channels, or what it does is unknown"
