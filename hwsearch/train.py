"""Fine-tuning: a pruned network regains what it lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.candidate import Epoch
from hwsearch.data import Array, Samples
from hwsearch.errors import TrialError

BATCH_NORM_MOMENTUM = 0.9
"""Statistics settle within a short fine-tune; Keras' 0.99 gave 12 % accuracy after two epochs."""


def fine_tune(
    model: Any,
    data: Samples,
    loss: Any,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    samples: int,
    seed: int,
) -> tuple[Epoch, ...]:
    """Trains the model in place with Adam, a half cosine from ``learning_rate`` to 0.

    Args:
        model: a Keras model.
        data: with targets.
        loss: as ``model.compile`` takes it.
        epochs, batch_size: of the training.
        samples: at most so many an epoch, another draw each epoch; 0 is all.
        seed: of the draws and the shuffling.

    Returns:
        Each epoch's mean loss.

    Raises:
        TrialError: the loss is not finite.
    """
    import keras

    if epochs == 0 or len(data) == 0:
        return ()
    keras.utils.set_random_seed(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    count = min(samples, len(data)) if samples else len(data)
    steps = max(1, math.ceil(count / batch_size)) * epochs
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss=loss, jit_compile=False)
    rng = np.random.default_rng(seed)
    curve: list[Epoch] = []
    for _ in range(epochs):
        rows = np.sort(rng.permutation(len(data))[:count])
        drawn = data.take(rows)
        history = model.fit(
            _packed(model, "input", drawn.inputs),
            _packed(model, "output", drawn.targets),
            batch_size=min(batch_size, count),
            verbose=0,
        )
        value = float(history.history["loss"][-1])
        if not math.isfinite(value):
            raise TrialError(
                f"the loss became {value} in epoch {len(curve) + 1}. Lower Space.learning_rate "
                f"(now {learning_rate})."
            )
        curve.append(Epoch(value))
    return tuple(curve)


def predict(model: Any, inputs: Sequence[Array]) -> tuple[NDArray[np.float32], ...]:
    """The Keras model's own outputs, one array an output."""
    import keras

    made = model.predict(_packed(model, "input", tuple(inputs)), batch_size=256, verbose=0)
    return tuple(np.asarray(y, np.float32) for y in keras.tree.flatten(made))


def _packed(model: Any, side: str, arrays: tuple[Array, ...]) -> Any:
    """Arrays in the structure of the model's inputs or outputs: one, a list or a dictionary."""
    import keras

    core = getattr(model, "_functional", None) or model
    return keras.tree.pack_sequence_as(getattr(core, side), list(arrays))
