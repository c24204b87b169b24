"""The goal of a tuner: objectives of KerasTuner's on artefacts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from hwsearch.tuner.goal import metric_of


@pytest.mark.parametrize(
    "loss",
    ["binary_crossentropy", keras.losses.binary_crossentropy, keras.losses.BinaryCrossentropy(),
     "binary_focal_crossentropy", "mse"],
)  # fmt: skip
def test_the_loss_of_one_output_a_sample(loss: Any) -> None:
    """Targets [n] and outputs [n, 1], as a binary classifier has them."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 20)
    outputs = rng.uniform(0.1, 0.9, (20, 1)).astype(np.float32)
    scored = metric_of(SimpleNamespace(name="val_loss"), None, loss)(targets, outputs)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    model.compile(loss=loss)
    assert scored == pytest.approx(model.evaluate(outputs, targets, verbose=0), rel=1e-5)
