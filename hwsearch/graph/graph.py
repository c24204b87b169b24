"""An immutable network as costs see it: operators in order, tensors with shapes, no weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

BITS = {
    "float32": 32, "float16": 16, "float64": 64, "int64": 64, "int32": 32, "uint32": 32,
    "int16": 16, "int8": 8, "uint8": 8, "int4": 4, "bool": 8,
}  # fmt: skip
"""Bits of one element, by dtype name; int4 is packed two to a byte in a ``.tflite``."""

WEIGHT_OPS = frozenset({"conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv"})
"""Operators whose input 1 is a weight tensor and whose work is counted in multiply-accumulates."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a network.

    Attributes:
        name: its name in the file; may be empty.
        shape: dimensions, NHWC for images; a scalar is ``()``.
        dtype: a key of :data:`BITS`.
        constant_bytes: bytes of its data in the file; 0 for an activation.
        scales: how many quantization scales it has: 0 none, 1 per tensor, else per channel.
        variable: whether it keeps its value between inferences.
        scale: of a tensor that has one, else 0. Calibration's, not architecture's: it takes no
            part in a comparison.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant_bytes: int = 0
    scales: int = 0
    variable: bool = False
    scale: float = field(default=0.0, compare=False)

    @property
    def is_constant(self) -> bool:
        """Whether its data lies in the file, and so in flash."""
        return self.constant_bytes > 0

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes in RAM when it is an activation; sub-byte types round up to whole bytes."""
        return -(-self.elements * BITS[self.dtype] // 8)


@dataclass(frozen=True, slots=True)
class Op:
    """One operator; attributes that its kind does not have keep their defaults.

    Attributes:
        kind: the TFLite builtin operator in lower case, e.g. ``"conv_2d"``.
        inputs: tensor indexes, -1 where an optional input is absent.
        outputs: tensor indexes.
        stride, dilation, window: (height, width).
        padding: ``"same"``, ``"valid"`` or ``""``.
        activation: fused: ``"none"``, ``"relu"``, ``"relu6"``, ``"relu_n1_to_1"``, ``"tanh"``.
        depth_multiplier: of a depthwise convolution.
        axis: of a concatenation, split, pack …
        keep_dims: of a reduction.
        alpha: softmax beta or leaky-relu slope.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (0, 0)
    padding: str = ""
    activation: str = "none"
    depth_multiplier: int = 1
    axis: int = 0
    keep_dims: bool = False
    alpha: float = 1.0


@dataclass(frozen=True)
class Graph:
    """A network: one subgraph, operators in execution order.

    Attributes:
        tensors: every tensor, in file order (TFLite Micro's planner breaks ties by this order).
        ops: operators in execution order.
        inputs, outputs: indexes of the network's inputs and outputs.
        file_bytes: size of the file it was read from, 0 if it was not.
        name: where it came from, for messages.
    """

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    file_bytes: int = 0
    name: str = ""

    @cached_property
    def lifetimes(self) -> tuple[tuple[int, int], ...]:
        """Per tensor (first, last) index of the operators between which its value must be kept.

        (-1, -1) for constants and tensors that nothing makes or reads. A network input lives
        from operator 0, an output until the last operator; as TFLite Micro counts them
        (``micro_allocation_info.cc``).
        """
        first = [-1] * len(self.tensors)
        last = [-1] * len(self.tensors)
        for i in self.inputs:
            first[i] = last[i] = 0
        for step, op in enumerate(self.ops):
            for i in op.outputs:
                if first[i] < 0:
                    first[i] = step
                last[i] = max(last[i], step)
            for i in op.inputs:
                if i >= 0 and not self.tensors[i].is_constant:
                    last[i] = step
        for i in self.outputs:
            last[i] = max(len(self.ops) - 1, 0)
        return tuple(
            (-1, -1) if t.is_constant or f < 0 else (f, max(f, e))
            for t, f, e in zip(self.tensors, first, last, strict=True)
        )

    @cached_property
    def macs(self) -> tuple[int, ...]:
        """Multiply-accumulates of each operator for one inference; 0 for kinds that have none."""
        return tuple(self._macs(op) for op in self.ops)

    def _macs(self, op: Op) -> int:
        if op.kind not in WEIGHT_OPS:
            return 0
        weights = self.tensors[op.inputs[1]]
        made = self.tensors[op.outputs[0]]
        if op.kind == "depthwise_conv_2d":
            return made.elements * weights.shape[1] * weights.shape[2]
        if op.kind == "transpose_conv":
            return self.tensors[op.inputs[2]].elements * math.prod(weights.shape[:3])
        return made.elements * math.prod(weights.shape[1:])
