"""A weight-free network written as a dict (one entry of an ``architectures.json``) as a Graph.

The dict holds what costs need and nothing else: ``tensors`` (``shape``, ``dtype``, and
``constant_bytes`` where the data lies in the file), ``operators`` in execution order (``kind``,
``inputs``, ``outputs``; ``stride``, ``padding``, ``window``, ``activation`` … where the kind has
them), ``inputs``, ``outputs``, ``file_bytes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwsearch.errors import ModelFileError
from hwsearch.graph.graph import BITS, Graph, Op, Tensor

_PAIRS = ("stride", "dilation", "window")
_PLAIN = ("padding", "activation", "depth_multiplier", "axis", "keep_dims", "alpha")


def from_architecture(entry: Mapping[str, Any], name: str = "the architecture") -> Graph:
    """The network that this dict describes.

    A concatenation's axis and a depthwise convolution's multiplier follow from the shapes when
    the dict does not give them; other attributes keep the defaults of :class:`Op`.

    Args:
        entry: the dict.
        name: for messages.

    Raises:
        ModelFileError: a field is missing, of the wrong type, or names a tensor that is not there.
    """
    try:
        tensors = tuple(_tensor(raw, i, name) for i, raw in enumerate(entry["tensors"]))
        ops = tuple(_op(raw, tensors) for raw in entry["operators"])
        inputs, outputs = _indexes(entry["inputs"]), _indexes(entry["outputs"])
        file_bytes = int(entry.get("file_bytes", 0))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelFileError(
            f"{name} is not a network: {type(error).__name__}: {error}. Expected a dict with "
            "'tensors', 'operators', 'inputs' and 'outputs', as in architectures.json."
        ) from error
    for where, indexes in (
        ("the inputs", inputs),
        ("the outputs", outputs),
        *((f"operator {i} ({op.kind})", op.inputs + op.outputs) for i, op in enumerate(ops)),
    ):
        if any(not -1 <= i < len(tensors) for i in indexes):
            raise ModelFileError(
                f"{where} of {name} name a tensor that is not there ({len(tensors)} are). "
                "Export the network again."
            )
    return Graph(tensors, ops, inputs, outputs, file_bytes, name)


def _tensor(raw: Mapping[str, Any], index: int, name: str) -> Tensor:
    shape, dtype = _indexes(raw["shape"]), str(raw["dtype"])
    if dtype not in BITS or any(d < 1 for d in shape):
        raise ModelFileError(
            f"tensor {index} of {name} has dtype {dtype!r} and shape {shape}. Expected positive "
            f"dimensions and one of {', '.join(BITS)}."
        )
    return Tensor(
        str(raw.get("name", "")),
        shape,
        dtype,
        int(raw.get("constant_bytes", 0)),
        int(raw.get("scales", 0)),
        bool(raw.get("variable", False)),
    )


def _op(raw: Mapping[str, Any], tensors: Sequence[Tensor]) -> Op:
    kind = str(raw["kind"]).lower()
    inputs, outputs = _indexes(raw["inputs"]), _indexes(raw["outputs"])
    fields: dict[str, Any] = {k: raw[k] for k in _PLAIN if k in raw}
    for key in _PAIRS:
        if key in raw:
            height, width = _indexes(raw[key])
            fields[key] = (height, width)
    for key in ("padding", "activation"):
        if key in fields:
            fields[key] = str(fields[key]).lower()
    if kind == "concatenation" and "axis" not in fields:
        fields["axis"] = _concatenation_axis(tensors[inputs[0]].shape, tensors[outputs[0]].shape)
    if kind == "depthwise_conv_2d" and "depth_multiplier" not in fields:
        made, read = tensors[outputs[0]].shape, tensors[inputs[0]].shape
        fields["depth_multiplier"] = max(made[-1] // read[-1], 1)
    return Op(kind, inputs, outputs, **fields)


def _concatenation_axis(read: tuple[int, ...], made: tuple[int, ...]) -> int:
    """The dimension that grows; the last one where none does (a single input)."""
    grown = [i for i, (a, b) in enumerate(zip(read, made, strict=True)) if a != b]
    return grown[0] if grown else len(made) - 1


def _indexes(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(v) for v in values)
