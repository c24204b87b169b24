"""Networks that the ``aot`` backend's costs are fitted to, and others that judge them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.compressed import clustered, pruned
from hwsearch.cost.columns import Columns
from tests.tflite_network import Network

SEEDS = {"int8": 8, "int4": 3, "int16": 5, "palette": 4, "sparse": 7}
"""Training networks by what they compute with, or how their weights are stored."""

SPARSITY = (0.3, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95)
"""Shares of zeros in the weights of sparse networks."""


def training() -> Iterator[tuple[str, bytes, str]]:
    """(name, file, format) of the networks that are fitted to: layers of every kernel and size."""
    for kind, count in SEEDS.items():
        for seed in range(count):
            content, form = _varied(seed, kind), "dense"
            if kind == "sparse":
                content, form = pruned(content, SPARSITY[seed]), kind
            elif kind == "palette":
                content, form = clustered(content, 16), kind
            yield f"{kind}-{seed}", content, form


def _varied(seed: int, kind: str) -> bytes:
    rng = np.random.default_rng([seed, len(kind), 7])
    net = Network(rng, "int16" if kind == "int16" else "int8", 4 if kind == "int4" else 8)
    height, width = (
        (1, 24) if seed % 4 == 3 else (int(rng.integers(5, 15)), int(rng.integers(5, 15)))
    )
    x = net.input((1, height, width, int(rng.integers(1, 9))), 0.05 if kind != "int16" else 2e-4)
    for _ in range(6):
        _leaves(net, x, kind)
        channels = int(rng.choice([3, 4, 6, 8, 13, 16, 20, 32, 40]))
        stride = (1, 1) if rng.random() < 0.7 or min(net.shape(x)[1:3]) < 4 else (2, 2)
        x = net.conv(x, channels, (1, 1) if rng.random() < 0.5 else (1, 3), stride)
    return net.finish(_head(net, x))


def _head(net: Network, x: int) -> int:
    net.pool(x, "average", net.shape(x)[1:3], (1, 1), "valid")
    mean = net.mean(x, (1, 2), keep_dims=False)
    net.unary("softmax")(net.dense(mean, int(net.rng.integers(2, 30)), "relu"))
    flat = net.reshape(x, (1, int(np.prod(net.shape(x)))))
    for units in net.rng.integers(1, 40, 3).tolist():
        net.dense(flat, units)
    return net.unary("softmax")(net.dense(net.dense(mean, 37), 10))


def _leaves(net: Network, x: int, kind: str) -> None:
    """Layers of every kernel on one tensor; nothing reads what they make."""
    rng = net.rng
    _, height, width, depth = net.shape(x)

    def kernel(most: int) -> tuple[int, int]:
        return (
            int(rng.integers(1, min(most, height) + 1)),
            int(rng.integers(1, min(most, width) + 1)),
        )

    def stride() -> tuple[int, int]:
        return (1, 1) if rng.random() < 0.6 else (int(rng.integers(1, 3)), int(rng.integers(1, 3)))

    def padding() -> str:
        return str(rng.choice(["same", "valid"]))

    for _ in range(3):
        net.conv(x, int(rng.integers(1, 41)), kernel(5), stride(), padding())
    net.conv(x, int(rng.integers(1, 41)), (min(3, height), min(3, width)))
    net.conv(x, int(rng.integers(1, 41)), (1, 1))
    if height > 4 and width > 4:
        net.conv(x, 5, (2, 2), dilation=(2, 2))
        net.depthwise(x, 1, (3, 3), (1, 1), padding())
        net.depthwise(x, 1, (3, 3), (2, 2), padding())
        net.depthwise(x, 1, (2, 3), dilation=(1, 2))
    net.depthwise(x, 1, kernel(5), stride(), padding())
    net.depthwise(x, 2, kernel(4), stride(), padding())
    if kind in ("int4", "palette", "sparse"):
        return
    for name in ("average", "max"):
        net.pool(x, name, kernel(3), stride(), padding())
    small = net.constant((1, 1, 1, depth), net.scale(x))
    for name in ("add", "sub", "mul"):
        net.binary(name, x, net.conv(x, depth, (1, 1)))
        net.binary(name, x, small)
    for name in ("relu", "logistic", "tanh", "leaky_relu", "relu6"):
        net.unary(name)(x)
    if kind == "int8":
        net.unary("hard_swish")(x)
    net.unary("softmax")(x)
    net.mean(x, (1, 2))
    net.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)])
    net.concat([net.conv(x, int(rng.integers(1, 20)), (1, 1)), x])
    net.quantize(x, net.scale(x) * 1.3, 0)
    if height * width <= 100:
        net.transpose_conv(x, int(rng.integers(1, 9)), kernel(3), (2, 2), padding())


def unseen(count: int) -> Iterator[tuple[str, bytes]]:
    """(name, file) of plain networks as people search them, none like the training ones."""
    for seed in range(count):
        rng = np.random.default_rng([seed, 99])
        kind = ("int8", "int8", "int8", "int4", "int16")[seed % 5]
        net = Network(rng, "int16" if kind == "int16" else "int8", 4 if kind == "int4" else 8)
        style = ("residual", "separable", "plain", "series", "dense")[seed % 7 % 5]
        yield f"{style}-{kind}-{seed}", _STYLES[style](net)


def compressed(count: int) -> Iterator[tuple[str, bytes]]:
    """The same in int8, pruned or clustered; no seed of :func:`unseen`."""
    for seed in range(count):
        rng = np.random.default_rng([seed, 98])
        style = ("residual", "separable", "plain", "series", "dense")[seed % 5]
        content = _STYLES[style](Network(rng))
        if seed % 3 == 2:
            yield f"{style}-palette-{seed}", clustered(content, 16)
        else:
            sparsity = float(rng.uniform(0.5, 0.95))
            yield f"{style}-{100 * sparsity:.0f}%-{seed}", pruned(content, sparsity)


def _scale(net: Network) -> float:
    return 2e-4 if net.dtype == "int16" else 0.05


def _residual(net: Network) -> bytes:
    rng = net.rng
    x = net.input((1, 16, 16, 3), _scale(net))
    x = net.conv(x, int(rng.integers(3, 17)), activation="relu")
    for stride in (1, 2, 2):
        width = int(rng.integers(6, 33))
        y = net.conv(x, width, (3, 3), (stride, stride), activation="relu")
        y = net.conv(y, width)
        x = net.binary("add", net.conv(x, width, (1, 1), (stride, stride)), y, "relu")
    x = net.pool(x, "average", net.shape(x)[1:3], (1, 1), "valid")
    return _classified(net, net.reshape(x, (1, net.shape(x)[3])))


def _separable(net: Network) -> bytes:
    rng = net.rng
    x = net.input((1, 25, 10, 1), _scale(net))
    x = net.conv(x, int(rng.integers(8, 41)), (10, 4), (2, 2), activation="relu")
    for _ in range(3):
        x = net.depthwise(x, activation="relu")
        x = net.conv(x, int(rng.integers(8, 41)), (1, 1), activation="relu")
    return _classified(net, net.mean(x, (1, 2), keep_dims=False))


def _plain(net: Network) -> bytes:
    rng = net.rng
    x = net.input((1, 20, 20, int(rng.integers(1, 4))), _scale(net))
    for _ in range(3):
        x = net.conv(x, int(rng.integers(4, 25)), padding="valid", activation="relu")
        if net.shape(x)[1] > 3:
            x = net.pool(x, "max", (2, 2), (2, 2), "valid")
    x = net.reshape(x, (1, int(np.prod(net.shape(x)))))
    return _classified(net, net.dense(x, int(rng.integers(8, 65)), "relu"))


def _series(net: Network) -> bytes:
    rng = net.rng
    x = net.input((1, 1, 128, int(rng.integers(1, 7))), _scale(net))
    for _ in range(3):
        x = net.conv(x, int(rng.integers(6, 33)), (1, 5), (1, 2), activation="relu")
    return _classified(net, net.mean(x, (1, 2), keep_dims=False))


def _dense(net: Network) -> bytes:
    rng = net.rng
    x = net.input((1, int(rng.integers(30, 641))), _scale(net))
    for _ in range(4):
        x = net.dense(x, int(rng.integers(8, 129)), "relu")
    return _classified(net, x)


def _classified(net: Network, x: int) -> bytes:
    return net.finish(net.unary("softmax")(net.dense(x, int(net.rng.integers(2, 13)))))


_STYLES = {
    "residual": _residual, "separable": _separable, "plain": _plain, "series": _series,
    "dense": _dense,
}  # fmt: skip


def varied(columns: Columns, n: int, seed: int = 0) -> Columns:
    """n candidates with channel widths drawn anew: equal widths of the network stay equal."""
    rng = np.random.default_rng(seed)
    shapes = np.repeat(columns.shapes, n, axis=0)
    graph = columns.graph
    widths = sorted(
        {graph.tensors[op.outputs[0]].shape[-1] for op in graph.ops if op.kind == "conv_2d"}
    )
    for width in widths:
        drawn = rng.integers(max(1, width // 4), width + 1, n)
        for i, tensor in enumerate(graph.tensors):
            if len(tensor.shape) == 4 and tensor.shape[-1] == width:
                shapes[:, i, -1] = drawn
            if len(tensor.shape) == 4 and tensor.is_constant and tensor.shape[0] == width:
                shapes[:, i, -4] = drawn
    return Columns(graph, shapes, np.repeat(columns.bits, n, axis=0))
