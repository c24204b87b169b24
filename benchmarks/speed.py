"""Rows of ``make bench-cost``: how fast candidates are costed, on one core, without TensorFlow."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # networks that tests write
from tflite_network import Network

from hwsearch.backends import backend
from hwsearch.board import board
from hwsearch.cost.columns import Columns
from hwsearch.cost.cost import CostColumns
from hwsearch.estimation import costs
from hwsearch.graph import Graph
from hwsearch.graph.tflite import read

BATCH, REPEATS, FLAT = 256, 15, 5_000
Line = tuple[str, ...]


def mobilenet_v2() -> Graph:
    """MobileNetV2 at width 0.35 on 96 × 96 images (Sandler et al. 2018, table 2), int8."""
    net = Network(np.random.default_rng(0))
    x = net.conv(net.input((1, 96, 96, 3)), 16, stride=(2, 2), activation="relu6")
    blocks = ((1, 8, 1, 1), (6, 8, 2, 2), (6, 16, 3, 2), (6, 24, 4, 2), (6, 32, 3, 1),
              (6, 56, 3, 2), (6, 112, 1, 1))  # fmt: skip
    for expansion, channels, count, first in blocks:
        for i in range(count):
            stride, read_channels = first if i == 0 else 1, net.shape(x)[-1]
            y = x
            if expansion > 1:
                y = net.conv(y, expansion * read_channels, (1, 1), activation="relu6")
            y = net.depthwise(y, stride=(stride, stride), activation="relu6")
            y = net.conv(y, channels, (1, 1))
            x = net.binary("add", x, y) if stride == 1 and channels == read_channels else y
            # Fifty layers of random weights would overflow; no cost depends on a scale.
            net.subgraph.tensors[x].quantization.scale = np.array([0.05], np.float32)
    x = net.conv(x, 1280, (1, 1), activation="relu6")
    return read(net.finish(net.dense(net.mean(x), 10))).graph


def rows(resnet: Graph) -> list[Line]:
    """ResNet-8 and MobileNetV2, a batch and one; and whether the 5,000th call is as quick."""
    runtime, known = backend("tflm-cmsis-nn"), board("nucleo-l4r5zi")

    def all_four(columns: Columns) -> CostColumns:
        return costs(columns, runtime, known)

    lines = []
    for name, graph, per_second, single in (
        ("ResNet-8", resnet, "≥ 10,000/s", "≤ 1 ms"),
        ("MobileNetV2-0.35", mobilenet_v2(), "≥ 2,000/s", ""),
    ):
        one = Columns.of(graph)
        for what, target, columns in (
            (f"batch of {BATCH}", per_second, repeated(one, BATCH)),
            ("one call", single, one),
        ):
            seconds = min(timed(columns, all_four) for _ in range(REPEATS))
            rate = len(columns) / seconds
            claim = f"{name}, all four costs, {what}"
            lines.append((claim, target, f"{seconds * 1e3:.2f} ms, {rate:,.0f}/s", ""))
    one = Columns.of(resnet)
    times = [timed(one, all_four) for _ in range(FLAT)]
    early, late = (float(np.median(part)) * 1e3 for part in (times[:500], times[-500:]))
    flat = f"{early:.2f} ms for the first 500, {late:.2f} ms for the last 500"
    lines.append((f"ResNet-8, one call {FLAT:,} times", "flat", flat, ""))
    return lines


def repeated(one: Columns, count: int) -> Columns:
    """The same candidate ``count`` times."""
    shapes, bits = np.repeat(one.shapes, count, axis=0), np.repeat(one.bits, count, axis=0)
    return Columns(one.graph, shapes, bits)


def timed(columns: Columns, call: Callable[[Columns], object]) -> float:
    """Seconds of one call on fresh columns (nothing computed before is kept)."""
    fresh = Columns(columns.graph, columns.shapes, columns.bits)
    start = time.perf_counter()
    call(fresh)
    return time.perf_counter() - start
