"""How fast candidates are priced: milliseconds for one and 256, candidates a second.

    python benchmarks/pricing.py

ResNet-8 and DS-CNN of MLPerf Tiny's shapes and MobileNetV2-0.35, at random widths and bits, on
NUCLEO-L4R5ZI. Building a model and binding its shapes comes once a search and is not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers as L

from hwsearch.backends import backend
from hwsearch.board import boards
from hwsearch.compress import structured
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.cost.cost import CostColumns
from hwsearch.graph import keras_channels
from hwsearch.graph.tflite import read
from hwsearch.pricing import Pricing, layout, scheme
from hwsearch.ranks import Ranks
from hwsearch.space import Space


def _conv(
    x: keras.KerasTensor, filters: int, size: int = 3, strides: int = 1
) -> keras.KerasTensor:
    x = L.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return L.BatchNormalization()(x)


def resnet8() -> keras.Model:
    """Three stages of 16, 32 and 64 channels on 32 × 32 images."""
    inputs = keras.Input((32, 32, 3))
    x = L.ReLU()(_conv(inputs, 16))
    for stage in range(3):
        strides, filters = (1 if stage == 0 else 2), 16 << stage
        y = _conv(L.ReLU()(_conv(x, filters, strides=strides)), filters)
        x = _conv(x, filters, 1, strides) if stage else x
        x = L.ReLU()(L.Add()([x, y]))
    x = L.Flatten()(L.AveragePooling2D(8)(x))
    return keras.Model(inputs, L.Dense(10, activation="softmax")(x))


def ds_cnn() -> keras.Model:
    """Four depthwise separable blocks of 64 channels on 49 × 10 features."""
    inputs = keras.Input((49, 10, 1))
    x = L.ReLU()(_conv(inputs, 64, 4, 2))
    for _ in range(4):
        x = L.ReLU()(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(x)))
        x = L.ReLU()(_conv(x, 64, 1))
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(12, activation="softmax")(x))


def mobilenet_v2() -> keras.Model:
    """52 convolutions on 96 × 96 images."""
    return keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10)


def pricing(model: keras.Model) -> Pricing:
    """As a search sets it up."""
    groups = keras_channels.groups(model)
    base, binding = structured.bind(model, groups)
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(4, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    calibration = calibrate(base.content, inputs)
    found, indexes = layout(binding, calibration.model.graph)
    schemes = {
        bits: scheme(
            read(quantize(calibration, bits, {})).graph, binding, calibration.model.graph, indexes
        )
        for bits in (8, 16)
    }
    ranks = Ranks(Space(), found, (backend("tflm"), backend("tflm-cmsis-nn")))
    return Pricing(boards()["nucleo-l4r5zi"], ranks, schemes)


def best_ms(work: Callable[[], object], repeats: int) -> float:
    """Milliseconds of the fastest of some runs: a busy machine only adds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def price(found: Pricing, rows: np.ndarray) -> CostColumns:
    """All four costs of rows of ranks, as the search asks for them."""
    return found.price(found.ranks.decode(rows))


def main() -> None:
    """Prints one row a network."""
    print(f"{'network':14}{'ops':>5}{'1: ms':>10}{'256: ms':>10}{'1024: ms':>10}{'a second':>12}")
    for build in (resnet8, ds_cnn, mobilenet_v2):
        found = pricing(build())
        rng = np.random.default_rng(0)
        took = {}
        for n in (1, 256, 1024):
            rows = found.ranks.pruned(rng, n)
            took[n] = best_ms(partial(price, found, rows), 200 // n + 8)
        rate = 1024 / took[1024] * 1e3
        ops = len(found.schemes[8].graph.ops)
        cells = "".join(f"{took[n]:10.2f}" for n in took)
        print(f"{build.__name__:14}{ops:5}{cells}{rate:12,.0f}")


if __name__ == "__main__":
    main()
