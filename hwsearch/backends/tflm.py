"""TFLite Micro with its reference kernels, and with CMSIS-NN's.

Sizes of structures are those of a 32-bit target. They reproduce the six totals measured on a
Cortex-M4 image (TFLite Micro of autumn 2026, arm-none-eabi-gcc 12.2; DS-CNN, ResNet-8 and a dense
autoencoder, with either kernels) to within 8 bytes of 15,620 to 54,996.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from hwsearch.backends.backend import RamColumns, Refusal
from hwsearch.cost import flash, latency, memory
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Band, Floats
from hwsearch.graph import BITS, Graph, Op

SUPPORTED = frozenset(
    """abs add add_n arg_max arg_min average_pool_2d batch_matmul batch_to_space_nd broadcast_to
    cast ceil concatenation conv_2d cos cumsum depth_to_space depthwise_conv_2d dequantize div elu
    equal exp expand_dims fill floor floor_div floor_mod fully_connected gather gather_nd greater
    greater_equal hard_swish l2_normalization l2_pool_2d leaky_relu less less_equal log
    log_softmax logical_and logical_not logical_or logistic max_pool_2d maximum mean minimum
    mirror_pad mul neg not_equal pack pad padv2 prelu quantize reduce_max reduce_min relu relu6
    reshape resize_bilinear resize_nearest_neighbor reverse_v2 round rsqrt select_v2 shape sin
    slice softmax space_to_batch_nd space_to_depth split split_v sqrt square squared_difference
    squeeze strided_slice sub sum svdf tanh transpose transpose_conv
    unidirectional_sequence_lstm unpack zeros_like""".split()
)
"""Operators that TFLite Micro registers (``micro_mutable_op_resolver.h``, autumn 2026)."""

FLOAT_ONLY = frozenset(
    """ceil cos exp floor floor_div floor_mod l2_pool_2d log neg round sin sqrt square""".split()
)
"""Operators with a float kernel alone there."""

INT16 = frozenset(
    """abs add average_pool_2d batch_matmul broadcast_to cast concatenation conv_2d
    depthwise_conv_2d dequantize expand_dims fully_connected greater leaky_relu logistic
    max_pool_2d maximum mean minimum mul pack pad padv2 quantize relu relu6 reshape
    resize_nearest_neighbor reverse_v2 rsqrt select_v2 slice softmax split split_v
    squared_difference squeeze strided_slice sub sum svdf tanh transpose transpose_conv
    unidirectional_sequence_lstm unpack""".split()
)
"""Operators with an int16 kernel there; like the two above, tried one by one on the
``tflite-micro`` wheel (``tests/backends/test_tflm.py``)."""

RAM_BAND = Band(-0.01, 0.01, "its planner rebuilt: byte-exact arenas, six totals on 32 bits")
FLASH_BAND = Band(-0.03, 0.03, "26 linked images of TFLite Micro, gcc 12.2 -O2, autumn 2026")

RUNTIME_BYTES = 114
EVAL_TENSOR_BYTES = 12
NODE_BYTES = 32
IO_TENSOR_BYTES = 76
"""Persistent structures of a 32-bit target: allocator and planner; one a tensor
(``TfLiteEvalTensor``); one an operator (``NodeAndRegistration``); one a network input or output
(``TfLiteTensor``, its quantization, its pointer)."""

LOOKUP_BYTES = 2 * 1040
"""The two lookup tables of an int16 softmax, 513 entries each."""

_OPERATOR_BYTES = {
    # Parsed options and kernel data of one operator, each rounded as the allocator rounds them.
    "conv_2d": 92, "depthwise_conv_2d": 92, "transpose_conv": 92, "fully_connected": 52,
    "average_pool_2d": 72, "max_pool_2d": 72, "softmax": 68, "add": 72, "sub": 72, "mul": 52,
    "reshape": 36, "mean": 52, "concatenation": 76, "pad": 64, "padv2": 64, "logistic": 16,
    "tanh": 16, "relu": 32, "relu6": 16, "hard_swish": 32, "leaky_relu": 36, "quantize": 32,
    "dequantize": 16, "elu": 272, "prelu": 48,
}  # fmt: skip
_OTHER_OPERATOR_BYTES = 48
_REDUCTIONS = frozenset({"mean", "sum", "reduce_max", "reduce_min"})
_PER_CHANNEL = frozenset({"conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv"})

REFERENCE = flash.Kernels(
    runtime_bytes=15_216 + 1_072,
    kernel_bytes={
        "conv_2d": 11_132, "depthwise_conv_2d": 10_060, "fully_connected": 8_636,
        "softmax": 10_020, "reshape": 1_152, "average_pool_2d": 5_652, "add": 12_600,
        "mean": 8_192,
        # Not linked when the others were: taken as the kernel most like it.
        "max_pool_2d": 5_652, "sub": 12_600, "mul": 9_800, "transpose_conv": 11_132,
        "concatenation": 6_000, "pad": 4_000, "logistic": 9_000, "tanh": 9_000, "relu": 5_000,
        "hard_swish": 6_000, "quantize": 6_000, "dequantize": 4_000, "squeeze": 1_152,
        "expand_dims": 1_152,
    },
    shared_bytes={
        "conv_2d": 4_140, "depthwise_conv_2d": 4_140, "fully_connected": 4_140, "softmax": 4_140,
        "add": 4_140, "mean": 4_140, "average_pool_2d": 2_432, "max_pool_2d": 2_432, "sub": 4_140,
        "mul": 4_140, "transpose_conv": 4_140, "logistic": 4_140, "tanh": 4_140, "relu": 2_432,
        "hard_swish": 2_432, "quantize": 2_432, "concatenation": 2_432,
    },
    pairs=(
        (frozenset({"conv_2d", "depthwise_conv_2d", "transpose_conv"}), 1_488),
        (frozenset({"average_pool_2d", "max_pool_2d"}), 2_800),
        (frozenset({"add", "sub"}), 6_000),
    ),
    other_bytes=8_000,
    source="tflm_link_sizes.csv: arm-none-eabi-gcc 12.2 -O2, gc-sections, autumn 2026",
)  # fmt: skip

CMSIS_NN = flash.Kernels(
    runtime_bytes=15_216 + 1_072,
    kernel_bytes=REFERENCE.kernel_bytes
    | {
        "conv_2d": 31_616, "depthwise_conv_2d": 21_392, "fully_connected": 20_060,
        "softmax": 10_948, "average_pool_2d": 6_260, "add": 14_540, "max_pool_2d": 6_260,
        "mul": 11_000, "transpose_conv": 21_000,
    },
    shared_bytes=REFERENCE.shared_bytes
    | {"conv_2d": 5_436, "depthwise_conv_2d": 5_436, "fully_connected": 5_436,
       "average_pool_2d": 2_208, "max_pool_2d": 2_208, "transpose_conv": 5_436},
    pairs=(
        (frozenset({"conv_2d", "fully_connected"}), 880),
        (frozenset({"average_pool_2d", "max_pool_2d"}), 2_800),
        (frozenset({"add", "sub"}), 6_000),
    ),
    other_bytes=8_000,
    source=REFERENCE.source,
)  # fmt: skip


def _unknown(graph: Graph, op: Op) -> bool:
    """TFLite Micro has no kernel for this operator."""
    return op.kind not in SUPPORTED


def _no_int16(graph: Graph, op: Op) -> bool:
    """TFLite Micro has no kernel of this operator for 16-bit activations."""
    dtypes = {graph.tensors[i].dtype for i in (*op.inputs, *op.outputs) if i >= 0}
    return "int16" in dtypes and op.kind not in INT16


def _float_only(graph: Graph, op: Op) -> bool:
    """TFLite Micro runs this operator on floats alone."""
    return op.kind in FLOAT_ONLY and graph.tensors[op.inputs[0]].dtype != "float32"


def _hybrid(graph: Graph, op: Op) -> bool:
    """TFLite Micro runs no operator with float activations and integer weights."""
    if op.kind not in _PER_CHANNEL:
        return False
    weights = graph.tensors[op.inputs[1]].dtype
    activations = graph.tensors[op.inputs[2 if op.kind == "transpose_conv" else 0]].dtype
    return (activations == "float32") != (weights == "float32")


def _low_bits(graph: Graph, op: Op) -> bool:
    """TFLite Micro runs 4-bit weights in convolutions and, per tensor, dense layers on int8."""
    low = [graph.tensors[i] for i in op.inputs if i >= 0 and graph.tensors[i].dtype == "int4"]
    if not low:
        return False
    if op.kind not in ("conv_2d", "depthwise_conv_2d", "fully_connected"):
        return True
    per_channel = op.kind == "fully_connected" and low[0].scales > 1
    return per_channel or graph.tensors[op.inputs[0]].dtype != "int8"


RULES: tuple[tuple[Callable[[Graph, Op], bool], str], ...] = (
    (
        _unknown,
        "Replace the layer that makes it by one of a supported operator, e.g. GELU by ReLU, "
        "UpSampling2D by Conv2DTranspose.",
    ),
    (_float_only, "Replace the layer that makes it by one that quantizes, e.g. ReLU."),
    (_no_int16, "Use 8-bit activations: Space(activation_bits=(8,))."),
    (_hybrid, "Quantize statically: give calibration data."),
    (_low_bits, "Use 8-bit weights there: Space(weight_bits=(8,))."),
)
"""Each rule's docstring is the message; beside it, what would help."""


def refusals(graph: Graph) -> list[Refusal]:
    """Every operator that TFLite Micro cannot run, by the first rule that it breaks."""
    found = []
    for i, op in enumerate(graph.ops):
        for rule, remedy in RULES:
            if rule(graph, op):
                found.append(Refusal(i, op.kind, str(rule.__doc__), remedy))
                break
    return found


@dataclass(frozen=True)
class _Persistent:
    """What of the persistent part the topology fixes, and whose channels the rest follows."""

    fixed_bytes: int
    weights: Ints
    axis: Ints
    per_channel: Ints


@lru_cache(maxsize=64)
def _persistent(graph: Graph, cmsis_nn: bool) -> _Persistent:
    total = RUNTIME_BYTES + EVAL_TENSOR_BYTES * len(graph.tensors) + NODE_BYTES * len(graph.ops)
    total += IO_TENSOR_BYTES * (len(graph.inputs) + len(graph.outputs))
    weights, axis, per_channel = [], [], []
    for op in graph.ops:
        total += _OPERATOR_BYTES.get(op.kind, _OTHER_OPERATOR_BYTES)
        if cmsis_nn:
            total += {"fully_connected": 32, "average_pool_2d": 8, "max_pool_2d": 8}.get(
                op.kind, 0
            )
        if op.kind == "softmax" and graph.tensors[op.inputs[0]].dtype == "int16":
            total += LOOKUP_BYTES
        if op.kind in _PER_CHANNEL and graph.tensors[op.inputs[0]].dtype != "float32":
            weights.append(op.inputs[1])
            axis.append(-1 if op.kind == "depthwise_conv_2d" else -4)
            # A dense layer per tensor keeps its one multiplier in the operator's own data.
            dense = op.kind == "fully_connected"
            axis[-1] = -2 if dense else axis[-1]
            per_channel.append(not dense or graph.tensors[op.inputs[1]].scales > 1)
    return _Persistent(
        total,
        np.array(weights, np.int64),
        np.array(axis, np.int64),
        np.array(per_channel, np.int64),
    )


def persistent(columns: Columns, cmsis_nn: bool, scratch: Sequence[tuple[int, Ints]]) -> Ints:
    """int64 [n]: bytes of the persistent part of the arena on a 32-bit target."""
    known = _persistent(columns.graph, cmsis_nn)
    total = np.full(len(columns), known.fixed_bytes, np.int64)
    if len(known.weights):
        channels = columns.shapes[:, known.weights, known.axis]
        dense_low = (columns.bits[:, known.weights] < 8) & (known.axis == -2)
        arrays = 2 * memory.align(4 * channels) * known.per_channel * ~dense_low
        total += arrays.sum(axis=1)
    if scratch:
        handles = sum((size > 0).astype(np.int64) for _, size in scratch)
        total += memory.align(4 * np.asarray(handles, np.int64))
    return total


def reference_scratch(columns: Columns) -> list[tuple[int, Ints]]:
    """(operator, int64 [n] bytes) of each scratch buffer that the reference kernels ask for."""
    found: list[tuple[int, Ints]] = []
    n = np.ones(len(columns), np.int64)
    for i, op in enumerate(columns.graph.ops):
        if not op.inputs or not op.outputs:
            continue
        made = columns.elements[:, op.outputs[0]]
        rank = len(columns.graph.tensors[op.inputs[0]].shape)
        dtype = columns.graph.tensors[op.inputs[0]].dtype
        if op.kind in ("conv_2d", "depthwise_conv_2d", "fully_connected"):
            # 4-bit weights are unpacked to a byte each (conv_common.cc).
            low = columns.bits[:, op.inputs[1]] == BITS["int4"]
            if low.any():
                found.append((i, columns.elements[:, op.inputs[1]] * low))
        elif op.kind == "transpose_conv":
            wide = 8 if columns.graph.tensors[op.outputs[0]].dtype == "int16" else 4
            if columns.graph.tensors[op.outputs[0]].dtype != "float32":
                found.append((i, made * wide))
        elif op.kind in _REDUCTIONS:
            axes = columns.graph.tensors[op.inputs[1]].elements
            found += [(i, n * 4 * rank), (i, n * 4 * axes)]
            if op.kind in ("mean", "sum") and dtype != "float32":
                found.append((i, made * 4))
        elif op.kind == "mirror_pad":
            found += [(i, n * 4 * rank), (i, n * 4 * rank)]
    return found


def cmsis_nn_scratch(columns: Columns) -> list[tuple[int, Ints]]:
    """The same for CMSIS-NN on a core with the DSP extension.

    Source: ``arm_convolve_get_buffer_sizes_s8.c`` and
    ``arm_depthwise_conv_get_buffer_sizes_s8.c`` of CMSIS-NN 7; gcc builds need none for 1x1, but
    at 16 bits (``arm_convolve_wrapper_s16``) there is no kernel of its own for it.
    """
    found: list[tuple[int, Ints]] = []
    graph = columns.graph
    for i, op in enumerate(graph.ops):
        weights = columns.shapes[:, op.inputs[1]] if len(op.inputs) > 1 else None
        if op.kind == "conv_2d" and weights is not None:
            _, height, width, depth = weights[:, -4:].T
            narrow = graph.tensors[op.inputs[0]].dtype == "int8"
            pointwise = (height == 1) & (width == 1) & (op.dilation == (1, 1)) & narrow
            columns_ = height * width * depth
            found.append((i, np.where(pointwise, 0, 2 * 2 * (-(-columns_ // 4) * 4))))
        elif op.kind == "depthwise_conv_2d" and weights is not None:
            found.append((i, _depthwise_scratch(columns, op, weights)))
        elif op.kind == "average_pool_2d":
            found.append((i, 4 * columns.shapes[:, op.inputs[0], -1]))
        elif op.kind == "transpose_conv":
            found.append((i, 4 * columns.elements[:, op.outputs[0]]))
    found += [
        item
        for item in reference_scratch(columns)
        if graph.ops[item[0]].kind in _REDUCTIONS | {"mirror_pad"}
    ]
    return sorted(((i, size) for i, size in found), key=lambda item: item[0])


def _depthwise_scratch(columns: Columns, op: Op, weights: Ints) -> Ints:
    made, channels = columns.shapes[:, op.outputs[0], -1], columns.shapes[:, op.inputs[0], -1]
    height, width = weights[:, -3], weights[:, -2]
    fast = (made == channels) & (op.dilation == (1, 1))
    small = (height == 3) & (width == 3)  # its own kernel, where padding is at most 1
    return np.where(fast & ~small, 2 * channels * height * width, 0)


@dataclass(frozen=True)
class Tflm:
    """TFLite Micro: an interpreter, a greedy planner, and one of two sets of kernels.

    Attributes:
        name: ``"tflm"`` (reference kernels) or ``"tflm-cmsis-nn"``.
        cmsis_nn: which kernels.
    """

    name: str
    cmsis_nn: bool
    activation_bits: tuple[int, ...] = (8, 16)
    weight_bits: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"conv_2d": (8, 4), "fully_connected": (8, 4)}
    )
    buildable: bool = True

    @property
    def bands(self) -> dict[str, Band]:
        """90 % intervals of RAM and flash; ``make bench-cost`` prints what they rest on."""
        return {"ram_bytes": RAM_BAND, "flash_bytes": FLASH_BAND}

    @property
    def kernels(self) -> flash.Kernels:
        """What its kernels take of flash."""
        return CMSIS_NN if self.cmsis_nn else REFERENCE

    def refusals(self, graph: Graph) -> list[Refusal]:
        """See :func:`refusals`."""
        return refusals(graph)

    def scratch(self, columns: Columns) -> list[tuple[int, Ints]]:
        """(operator, int64 [n] bytes) of each scratch buffer."""
        return cmsis_nn_scratch(columns) if self.cmsis_nn else reference_scratch(columns)

    def plan(self, columns: Columns) -> memory.Plan:
        """Where activations and scratch lie in the arena."""
        return memory.plan(columns, self.scratch(columns))

    def ram(self, columns: Columns) -> RamColumns:
        """Arena exact for the reference kernels; in all within 0.1 % of six measured totals."""
        scratch = self.scratch(columns)
        return RamColumns(
            memory.plan(columns, scratch).bytes,
            persistent(columns, self.cmsis_nn, scratch),
            np.zeros(len(columns), np.int64),
        )

    def flash(self, columns: Columns) -> Ints:
        """The ``.tflite`` file, the kernels of its operators, runtime and start-up."""
        kernels = CMSIS_NN if self.cmsis_nn else REFERENCE
        return flash.model_bytes(columns) + _image_bytes(
            kernels.source, self.cmsis_nn, columns.graph
        )

    def cycles(self, columns: Columns, core: str) -> Floats | None:
        """See :mod:`hwsearch.cost.latency`."""
        return latency.cycles(columns, core, self.name)


@lru_cache(maxsize=64)
def _image_bytes(source: str, cmsis_nn: bool, graph: Graph) -> int:
    return (CMSIS_NN if cmsis_nn else REFERENCE).image_bytes(graph)


BACKENDS = (Tflm("tflm", False), Tflm("tflm-cmsis-nn", True))
