"""Random quantized ``.tflite`` networks without a converter; see tflite_network for the blocks."""

from __future__ import annotations

import numpy as np
from tflite_network import Network

__all__ = ["Network", "random_network"]


def random_network(
    rng: np.random.Generator, dtype: str = "int8", weight_bits: int = 8, layers: int | None = None
) -> bytes:
    """A random network: an image, a series (height 1) or a vector through 1–8 layers.

    Odd channel counts, strides, paddings, dilations, residuals, concatenations and every
    operator of :class:`Network` occur; the same state of ``rng`` gives the same file.
    """
    net = Network(rng, dtype, weight_bits)
    form = rng.choice(["image", "image", "image", "series", "vector"])
    scale = 0.05 if dtype == "int8" else 0.0002
    if form == "vector":
        x = net.input((1, int(rng.integers(1, 70))), scale)
    else:
        height = 1 if form == "series" else int(rng.integers(1, 15))
        x = net.input(
            (1, height, int(rng.integers(1, 15)), int(rng.choice([1, 2, 3, 4, 5, 8, 12]))), scale
        )
    for _ in range(layers or int(rng.integers(1, 9))):
        x = _random_layer(net, x)
    if len(net.shape(x)) == 4 and rng.random() < 0.5:
        x = net.reshape(x, (1, int(np.prod(net.shape(x)))))
        x = net.dense(x, int(rng.integers(1, 12)))
        if rng.random() < 0.5 and _softmax_can(net, x):
            x = net.unary("softmax")(x)
    return net.finish(x)


def _softmax_can(net: Network, x: int) -> bool:
    """TFLite Micro aborts on a softmax whose input steps are next to nothing."""
    return net.scale(x) > 1e-6


def _random_layer(net: Network, x: int) -> int:
    rng, shape = net.rng, net.shape(x)
    activation = str(rng.choice(["none", "relu", "relu6"]))
    unaries = ["relu", "relu6", "logistic", "tanh", "leaky_relu"]
    if net.dtype == "int8":
        unaries.append("hard_swish")
    if len(shape) == 2:
        kind = str(rng.choice(["dense", "dense", "unary", "add", "softmax", "reshape"]))
        if kind == "dense":
            return net.dense(x, int(rng.integers(1, 40)), activation)
        if kind == "add":
            return net.binary("add", x, net.dense(x, shape[1]), activation)
        if kind == "reshape":
            return net.reshape(x, (1, 1, 1, shape[1]))
        softmax = kind == "softmax" and _softmax_can(net, x)
        return net.unary("softmax" if softmax else str(rng.choice(unaries)))(x)
    _, height, width, depth = shape
    kernel = (int(rng.integers(1, min(4, height) + 1)), int(rng.integers(1, min(4, width) + 1)))
    kernel = kernel if rng.random() < 0.5 else (min(3, height), min(3, width))
    stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3))) if rng.random() < 0.4 else (1, 1)
    padding = str(rng.choice(["same", "valid"]))
    dilation = (1, 1)
    if stride == (1, 1) and rng.random() < 0.2:
        dilation = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        padding = "same"
    channels = int(rng.choice([1, 2, 3, 4, 5, 7, 8, 12, 16]))
    kind = str(rng.choice(
        ["conv", "conv", "pointwise", "depthwise", "depthwise", "residual", "add", "mul", "sub",
         "pool", "pad", "concat", "unary", "mean", "quantize", "transpose", "gate"]
    ))  # fmt: skip
    per_channel = bool(rng.random() < 0.8)
    if kind == "conv":
        return net.conv(x, channels, kernel, stride, padding, dilation, activation, per_channel)
    if kind == "pointwise":
        return net.conv(x, channels, (1, 1), (1, 1), "same", (1, 1), activation, per_channel)
    if kind == "depthwise":
        multiplier = int(rng.choice([1, 1, 1, 2, 3])) if depth <= 8 else 1
        return net.depthwise(
            x, multiplier, kernel, stride, padding, dilation, activation, per_channel
        )
    if kind == "residual":
        y = net.conv(x, depth, kernel, (1, 1), "same", (1, 1), activation)
        y = net.conv(y, depth, (1, 1))
        return net.binary("add", *((x, y) if rng.random() < 0.5 else (y, x)), activation)
    if kind in ("add", "mul", "sub"):
        other = net.constant((1, 1, 1, depth), net.scale(x)) if rng.random() < 0.5 else x
        return net.binary(kind, x, other, activation)
    if kind == "pool":
        return net.pool(
            x, str(rng.choice(["average", "max"])), kernel, stride, padding, activation
        )
    if kind == "pad":
        top, bottom, left, right = (int(n) for n in rng.integers(0, 3, 4))
        return net.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)])
    if kind == "concat":
        return net.concat([net.conv(x, channels, (1, 1)), x], 3)
    if kind == "mean" and height * width > 1:
        return net.mean(x, (1, 2), keep_dims=True)
    if kind == "quantize":
        return net.quantize(x, net.scale(x) * float(rng.uniform(0.6, 1.6)), net._zero_point())
    if kind == "transpose" and height * width <= 64:
        return net.transpose_conv(
            x, channels, kernel, stride, padding, bias=bool(rng.random() < 0.7)
        )
    if kind == "gate":
        y = net.mean(x, (1, 2), keep_dims=True)
        y = net.unary("logistic")(net.conv(y, depth, (1, 1)))
        return net.binary("mul", x, y)
    return net.unary(str(rng.choice(unaries)))(x)
