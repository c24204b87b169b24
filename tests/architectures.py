"""Small networks as dicts, and where the published measurements lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PUBLISHED = Path(__file__).parents[1] / ".." / "shared" / "data" / "published"
MODELS = Path(__file__).parents[1] / ".." / "shared" / "models" / "mlperf_tiny"

needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"the published measurements are not at {PUBLISHED}"
)


class Builder:
    """A network under construction; each method appends an operator and gives its output."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "int8") -> None:
        self.dtype = dtype
        self.tensors: list[dict[str, Any]] = [{"shape": list(shape), "dtype": dtype}]
        self.operators: list[dict[str, Any]] = []

    def _tensor(self, shape: list[int], constant: bool = False) -> int:
        entry: dict[str, Any] = {"shape": shape, "dtype": self.dtype}
        if constant:
            size = 4 if self.dtype == "float32" else 1
            for dimension in shape:
                size *= dimension
            entry["constant_bytes"] = size
        self.tensors.append(entry)
        return len(self.tensors) - 1

    def _append(self, kind: str, inputs: list[int], shape: list[int], **more: Any) -> int:
        out = self._tensor(shape)
        self.operators.append({"kind": kind, "inputs": inputs, "outputs": [out], **more})
        return out

    def shape(self, index: int) -> list[int]:
        return list(self.tensors[index]["shape"])

    def conv(self, x: int, cout: int, window: int, stride: int = 1) -> int:
        _, height, width, cin = self.shape(x)
        weights = self._tensor([cout, window, window, cin], constant=True)
        shape = [1, -(-height // stride), -(-width // stride), cout]
        return self._append(
            "CONV_2D", [x, weights], shape, stride=[stride, stride], padding="same"
        )

    def depthwise(self, x: int, window: int) -> int:
        _, height, width, channels = self.shape(x)
        weights = self._tensor([1, window, window, channels], constant=True)
        shape = [1, height, width, channels]
        return self._append("DEPTHWISE_CONV_2D", [x, weights], shape, stride=[1, 1])

    def dense(self, x: int, units: int) -> int:
        inputs = 1
        for dimension in self.shape(x):
            inputs *= dimension
        weights = self._tensor([units, inputs], constant=True)
        return self._append("FULLY_CONNECTED", [x, weights], [1, units])

    def add(self, a: int, b: int) -> int:
        return self._append("ADD", [a, b], self.shape(a))

    def pool(self, x: int, window: int) -> int:
        _, height, width, channels = self.shape(x)
        shape = [1, height // window, width // window, channels]
        pair = [window, window]
        return self._append("MAX_POOL_2D", [x], shape, window=pair, stride=pair)

    def softmax(self, x: int) -> int:
        return self._append("SOFTMAX", [x], self.shape(x))

    def entry(self) -> dict[str, Any]:
        return {
            "tensors": self.tensors,
            "operators": self.operators,
            "inputs": [0],
            "outputs": [len(self.tensors) - 1],
        }


def small_cnn(dtype: str = "int8", width: int = 16) -> dict[str, Any]:
    """A first convolution, a depthwise and a pointwise one, a residual, a pool, a dense layer."""
    net = Builder((1, 12, 12, 3), dtype)
    x = net.conv(0, width, 3)
    y = net.conv(net.depthwise(x, 3), width, 1)
    x = net.conv(net.add(x, y), 2 * width, 3, stride=2)
    net.softmax(net.dense(net.pool(x, 2), 10))
    return net.entry()
