"""What gates cost: seconds of an epoch with gates against one without, and of a whole training.

``make bench-gates``: LeNet-5 (61,706 parameters), its variant of 1.2 million and MLPerf Tiny's
ResNet-8, on images of Fashion-MNIST's size, one thread of TensorFlow, batches of 64. Seconds are
the process' own processor time, of all its threads: wall time says little on a machine that others
use too. Epochs take turns. Limits of flash, RAM and latency at a half of what the whole network
takes, so that gates are priced and shut as in a search.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.compression.networks import lenet5, lenet_large, resnet8
from hwsearch.board import board
from hwsearch.budget import Budget
from hwsearch.compress.differentiable import Gated, shrink
from hwsearch.compress.fitted import keras_copy
from hwsearch.compress.gates import gates
from hwsearch.compress.goal import Goal
from hwsearch.compress.soft_cost import soft_cost
from hwsearch.graph import keras_channels
from hwsearch.problem import Given, problem
from hwsearch.space import Space
from hwsearch.train import fine_tune

ROUNDS, EPOCHS, SAMPLES, BATCH = 3, 4, 3200, 64
EACH = 16
"""Epochs with gates and without, taking turns; the median of the ratios of neighbours counts."""

TARGET = 1.15
"""An epoch with gates may take so many times one without."""


def epochs_s(fits: Sequence[Callable[[], Any]]) -> list[list[float]]:
    """Processor seconds of each epoch of each, in turns, but the first, which TensorFlow traces.

    Args:
        fits: each trains a network for one epoch.
    """
    taken = []
    for _ in range(1 + EACH):
        times = [time.process_time()]
        for fit in fits:
            fit()
            times.append(time.process_time())
        taken.append([after - before for before, after in pairwise(times)])
    return taken[1:]


def recipe() -> dict[str, Any]:
    """How both train."""
    return {
        "epochs": EPOCHS, "learning_rate": 1e-3, "batch_size": BATCH, "samples": 0, "seed": 0,
    }  # fmt: skip


def measure(build: Callable[[], keras.Model]) -> float:
    """Prints the figures of one network; gives the ratio of the epochs."""
    rng = np.random.default_rng(0)
    images = rng.random((SAMPLES, 28, 28, 1), np.float32)
    labels = rng.integers(0, 10, SAMPLES)
    keras.utils.set_random_seed(0)
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=BATCH, verbose=0)
    few = (images[:200], labels[:200])
    given = Given((images, labels), few, few, backends=("aot",), space=Space(activation_bits=(8,)))
    found = problem(model, board("nucleo-l4r5zi"), given)
    ranks = found.pricing.ranks
    whole = ranks.configuration([0] * len(ranks.parameters))
    cost = found.pricing.cost(whole)
    assert cost.flash_bytes and cost.ram_bytes and cost.latency_s
    limits = Budget(flash=cost.flash_bytes, ram=cost.ram_bytes, latency=cost.latency_s)
    goal = Goal(found.pricing, limits, whole, 0.5)
    soft = soft_cost(goal.scheme, goal.limits, goal.uses)
    copy = keras_copy(model)
    copied = keras_channels.groups(copy)
    steps = (1 + EACH) * (SAMPLES // BATCH)
    fits = []
    for fitted in (keras_copy(model), Gated(copy, gates(copy, copied), copied, goal, soft, steps)):
        fitted.compile("adam", found.loss, jit_compile=False)
        fits.append(partial(fitted.fit, images, labels, batch_size=BATCH, verbose=0))
    taken = epochs_s(fits)
    plain_s, gated_s = map(statistics.median, zip(*taken, strict=True))
    ratios = sorted(gated / plain for plain, gated in taken)
    ratio, spread = statistics.median(ratios), ratios[EACH // 4 : EACH - EACH // 4]
    whole_s = []
    for _ in range(ROUNDS):
        started = time.process_time()
        fine_tune(keras_copy(model), found.train, found.loss, **recipe())
        between = time.process_time()
        copy = keras_copy(model)
        shrink(copy, keras_channels.groups(copy), found.train, found.loss, goal, **recipe())
        whole_s.append(time.process_time() - between - (between - started))
    print(
        f"{model.name:12} epoch {plain_s:.2f} s, with gates {gated_s:.2f} s: {ratio - 1:+.1%} "
        f"(half of {EACH} pairs from {spread[0] - 1:+.1%} to {spread[-1] - 1:+.1%}); "
        f"a training of {EPOCHS} such epochs, half of them with gates, takes "
        f"{statistics.median(whole_s):+.1f} s: tracing, soft costs, projection",
        flush=True,
    )
    return ratio


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    wanted = sys.argv[1:]
    networks = [build for build in (lenet5, lenet_large, resnet8)
                if not wanted or build.__name__ in wanted]  # fmt: skip
    over = [build.__name__ for build in networks if measure(build) > TARGET]
    if over:
        sys.exit(f"over {TARGET - 1:.0%}: {', '.join(over)}")
    print(f"{Path(__file__).name}: all within {TARGET - 1:.0%}")
