"""What gates cost: seconds of an epoch with gates against one without, and of a whole training.

``make bench-gates``: LeNet-5 (61,706 parameters), its variant of 1.2 million and MLPerf Tiny's
ResNet-8, on images of Fashion-MNIST's size, one thread of TensorFlow, batches of 64. Rounds take
turns, so that a busy machine slows both. Limits of flash, RAM and latency at a half of what the
whole network takes, so that gates are priced and shut as in a search.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.compression.networks import lenet5, lenet_large, resnet8
from hwsearch.board import board
from hwsearch.budget import Budget
from hwsearch.compress.differentiable import Gated, shrink
from hwsearch.compress.gates import gates
from hwsearch.compress.goal import Goal
from hwsearch.compress.soft_cost import soft_cost
from hwsearch.graph import keras_channels
from hwsearch.problem import Given, Problem, problem
from hwsearch.space import Space
from hwsearch.train import fine_tune

ROUNDS, EPOCHS, SAMPLES, BATCH = 3, 4, 3200, 64
TARGET = 1.15
"""An epoch with gates may take so many times one without."""


def epochs_s(model: Any, found: Problem, step: Callable[[Any], Any]) -> list[float]:
    """Seconds of each epoch but the first, in which TensorFlow traces."""
    taken: list[float] = []

    def timed(whole: Any) -> Any:
        fitted = step(whole)
        fit = fitted.fit

        def watched(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            history = fit(*args, **options)
            taken.append(time.perf_counter() - started)
            return history

        fitted.fit = watched
        return fitted

    fine_tune(model, found.train, found.loss, step=timed, **recipe())
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
    steps = EPOCHS * (SAMPLES // BATCH)

    def gated(fitted: Any) -> Any:
        copied = keras_channels.groups(copy)
        return Gated(fitted, gates(copy, copied, fitted), copied, goal, soft, steps)

    plain_s: list[float] = []
    gated_s: list[float] = []
    whole_s: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        for step, taken in ((lambda fitted: fitted, plain_s), (gated, gated_s)):
            copy = cloned(model)
            taken += epochs_s(copy, found, step)
        started = time.perf_counter()
        fine_tune(cloned(model), found.train, found.loss, **recipe())
        between = time.perf_counter()
        copy = cloned(model)
        groups = keras_channels.groups(copy)
        shrink(copy, groups, found.train, found.loss, goal, **recipe())
        whole_s.append((between - started, time.perf_counter() - between))
    ratio = statistics.median(gated_s) / statistics.median(plain_s)
    more_s = statistics.median(b - a for a, b in whole_s)
    print(
        f"{model.name:12} epoch {statistics.median(plain_s):.2f} s, with gates "
        f"{statistics.median(gated_s):.2f} s: {ratio - 1:+.1%} ({len(gated_s)} epochs each); "
        f"a training of {EPOCHS} such epochs, half of them with gates, takes {more_s:+.1f} s: "
        "tracing, soft costs, projection",
        flush=True,
    )
    return ratio


def cloned(model: Any) -> Any:
    """A copy with weights of its own."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


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
