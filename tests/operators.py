"""Networks of a single operator, in every data type: what a runtime runs and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tflite_network import Network

IMAGE = (1, 4, 6, 8)
ROW = (1, 24)
UNARY = (
    "abs", "ceil", "cos", "elu", "exp", "floor", "gelu", "hard_swish", "leaky_relu", "log",
    "log_softmax", "logistic", "neg", "relu", "relu6", "relu_n1_to_1", "round", "rsqrt", "sin",
    "softmax", "sqrt", "square", "tanh", "l2_normalization", "zeros_like",
)  # fmt: skip
BINARY = (
    "add", "sub", "mul", "div", "maximum", "minimum", "squared_difference", "floor_div",
    "floor_mod", "pow",
)  # fmt: skip
COMPARE = ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
REDUCE = ("mean", "sum", "reduce_max", "reduce_min", "reduce_prod")
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("SoftmaxOptions", {"beta": 1.0}),
    "leaky_relu": ("LeakyReluOptions", {"alpha": 0.1}),
    "l2_normalization": ("L2NormOptions", {}), "add": ("AddOptions", {}),
    "sub": ("SubOptions", {}), "mul": ("MulOptions", {}), "div": ("DivOptions", {}),
}  # fmt: skip
_FIXED = {  # (scale, zero point) that TFLite prescribes, at 8 and at 16 bits
    "logistic": ((1 / 256, -128), (1 / 32768, 0)), "tanh": ((1 / 128, 0), (1 / 32768, 0)),
    "softmax": ((1 / 256, -128), (1 / 32768, 0)), "log_softmax": ((16 / 256, 127), (1 / 2048, 0)),
    "l2_normalization": ((1 / 128, 0), (1 / 32768, 0)),
}  # fmt: skip
_PADS = [[0, 0], [1, 2], [0, 1], [0, 0]]
_POOL = {
    "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2,
    "padding": schema.Padding.VALID,
}  # fmt: skip
_SHAPED: tuple[tuple[str, list[Any], list[Any], str, dict[str, Any]], ...] = (
    # kind, inputs (a tuple is the shape of an activation, a list a constant), outputs, options
    ("prelu", [IMAGE, (1, 1, 8)], [IMAGE], "", {}),
    ("average_pool_2d", [IMAGE], [(1, 2, 3, 8)], "Pool2DOptions", _POOL),
    ("max_pool_2d", [IMAGE], [(1, 2, 3, 8)], "Pool2DOptions", _POOL),
    ("l2_pool_2d", [IMAGE], [(1, 2, 3, 8)], "Pool2DOptions", _POOL),
    ("pad", [IMAGE, _PADS], [(1, 7, 7, 8)], "PadOptions", {}),
    ("mirror_pad", [IMAGE, _PADS], [(1, 7, 7, 8)], "MirrorPadOptions", {}),
    ("reshape", [IMAGE, [1, 192]], [(1, 192)], "ReshapeOptions", {"newShape": [1, 192]}),
    ("squeeze", [(1, 1, 24)], [ROW], "SqueezeOptions", {"squeezeDims": [1]}),
    ("expand_dims", [ROW, [1]], [(1, 1, 24)], "ExpandDimsOptions", {}),
    ("transpose", [IMAGE, [0, 2, 1, 3]], [(1, 6, 4, 8)], "TransposeOptions", {}),
    ("concatenation", [IMAGE, IMAGE], [(1, 4, 6, 16)], "ConcatenationOptions", {"axis": 3}),
    ("pack", [(4, 6), (4, 6)], [(2, 4, 6)], "PackOptions", {"valuesCount": 2}),
    ("unpack", [(2, 4, 6)], [(4, 6), (4, 6)], "UnpackOptions", {"num": 2}),
    ("split", [[3], IMAGE], [(1, 4, 6, 4), (1, 4, 6, 4)], "SplitOptions", {"numSplits": 2}),
    (
        "split_v", [IMAGE, [3, 5], [3]], [(1, 4, 6, 3), (1, 4, 6, 5)],
        "SplitVOptions", {"numSplits": 2},
    ),
    ("slice", [IMAGE, [0, 1, 1, 0], [1, 2, 3, 8]], [(1, 2, 3, 8)], "SliceOptions", {}),
    (
        "strided_slice", [IMAGE, [0, 0, 0, 0], [1, 4, 6, 8], [1, 2, 2, 1]], [(1, 2, 3, 8)],
        "StridedSliceOptions", {},
    ),
    ("gather", [(4, 6), [0, 2]], [(2, 6)], "GatherOptions", {}),
    ("tile", [IMAGE, [1, 2, 1, 1]], [(1, 8, 6, 8)], "TileOptions", {}),
    ("broadcast_to", [(1, 1, 1, 8), list(IMAGE)], [IMAGE], "BroadcastToOptions", {}),
    ("space_to_depth", [IMAGE], [(1, 2, 3, 32)], "SpaceToDepthOptions", {"blockSize": 2}),
    ("depth_to_space", [IMAGE], [(1, 8, 12, 2)], "DepthToSpaceOptions", {"blockSize": 2}),
    (
        "space_to_batch_nd", [IMAGE, [2, 2], [[0, 0], [0, 0]]], [(4, 2, 3, 8)],
        "SpaceToBatchNDOptions", {},
    ),
    (
        "batch_to_space_nd", [(4, 2, 3, 8), [2, 2], [[0, 0], [0, 0]]], [IMAGE],
        "BatchToSpaceNDOptions", {},
    ),
    ("resize_bilinear", [IMAGE, [8, 12]], [(1, 8, 12, 8)], "ResizeBilinearOptions", {}),
    (
        "resize_nearest_neighbor", [IMAGE, [8, 12]], [(1, 8, 12, 8)],
        "ResizeNearestNeighborOptions", {},
    ),
    ("reverse_v2", [IMAGE, [[1]]], [IMAGE], "ReverseV2Options", {}),
    ("cumsum", [IMAGE, [1]], [IMAGE], "CumsumOptions", {}),
)  # fmt: skip


class One:
    """A network of one operator on activations of ``dtype``."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.net = Network(np.random.default_rng(0), "int8" if dtype == "float32" else dtype)

    def activation(self, shape: tuple[int, ...], dtype: str = "", kind: str = "") -> int:
        dtype = dtype or self.dtype
        if dtype not in ("int8", "int16"):
            return self.net.tensor(shape, dtype)
        scale, zero_point = _FIXED.get(kind, ((0.05, 3), (0.0002, 0)))[dtype == "int16"]
        return self.net.tensor(shape, dtype, scale, zero_point)

    def input(self, given: Any, dtype: str = "") -> int:
        if isinstance(given, list):
            data = np.array(given[0] if len(given) == 1 else given, np.int32)
            return self.net.tensor(data.shape, "int32", data=data)
        index = self.activation(given, dtype)
        self.net.subgraph.inputs.append(index)
        return index

    def made(
        self, kind: str, inputs: list[int], outputs: list[int], options: str = "", **fields: Any
    ) -> bytes:
        self.net.op(kind, inputs, outputs[0], options, 2, **fields)
        self.net.subgraph.operators[-1].outputs = outputs
        return self.net.finish(*outputs)


def single(dtype: str) -> dict[str, bytes]:
    """Per name a network of one operator whose data are of this type: int8, int16 or float32."""
    found: dict[str, bytes] = {}
    for kind in UNARY:
        options, fields = _OPTIONS.get(kind, ("", {}))
        shape = ROW if kind in ("softmax", "log_softmax") else IMAGE
        one = One(dtype)
        output = one.activation(shape, kind=kind)
        found[kind] = one.made(kind, [one.input(shape)], [output], options, **fields)
    for kind in BINARY + COMPARE:
        one = One(dtype)
        output = one.activation(IMAGE, "bool" if kind in COMPARE else "")
        inputs = [one.input(IMAGE), one.input(IMAGE)]
        found[kind] = one.made(kind, inputs, [output], _OPTIONS.get(kind, ("",))[0])
    for kind in REDUCE:
        for axes in ((1, 2), (3,)):
            for keep in (True, False):
                shape = tuple(1 if i in axes else n for i, n in enumerate(IMAGE))
                shape = shape if keep else tuple(n for i, n in enumerate(IMAGE) if i not in axes)
                one = One(dtype)
                table = one.net.tensor((len(axes),), "int32", data=np.array(axes))
                inputs, output = [one.input(IMAGE), table], one.activation(shape)
                found[f"{kind}{axes}{keep}"] = one.made(
                    kind, inputs, [output], "ReducerOptions", keepDims=keep
                )
    for kind, options in (("arg_max", "ArgMaxOptions"), ("arg_min", "ArgMinOptions")):
        one = One(dtype)
        inputs, output = [one.input(ROW), one.input([1])], one.activation((1,), "int32")
        found[kind] = one.made(kind, inputs, [output], options, outputType=2)
    for kind, inputs, outputs, options, fields in _SHAPED:
        one = One(dtype)
        tensors = [one.input(given) for given in inputs]
        made = [one.activation(shape) for shape in outputs]
        found[kind] = one.made(kind, tensors, made, options, **fields)
    for x in (False, True):
        for y in (False, True):
            one = One(dtype)
            inputs = [one.input((1, 6, 4) if x else (1, 4, 6))]
            inputs.append(one.input((1, 5, 6) if y else (1, 6, 5)))
            found[f"batch_matmul{x}{y}"] = one.made(
                "batch_matmul", inputs, [one.activation((1, 4, 5))], "BatchMatMulOptions",
                adjX=x, adjY=y,
            )  # fmt: skip
    one = One(dtype)
    inputs = [one.input(IMAGE, "bool"), one.input(IMAGE), one.input(IMAGE)]
    found["select_v2"] = one.made("select_v2", inputs, [one.activation(IMAGE)], "SelectV2Options")
    for name, before, after in (
        ("quantize", "float32", dtype),
        ("requantize", dtype, dtype),
        ("dequantize", dtype, "float32"),
    ):
        if dtype != "float32":
            one = One(dtype)
            kind = "dequantize" if name == "dequantize" else "quantize"
            output = one.activation(IMAGE, after, "tanh")
            found[name] = one.made(kind, [one.input(IMAGE, before)], [output])
    return found
