"""A small trained network on scikit-learn's digits, and a script that searches it.

As a script: ``python digits.py DIRECTORY TRIALS`` prints one JSON line on the report.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import hwsearch

Split = tuple[NDArray[np.float32], NDArray[np.int64]]
BUDGET = hwsearch.Budget(flash="80 KiB", ram="6 KiB", latency="20 ms")
SPACE = hwsearch.Space(epochs=1)


def data() -> tuple[Split, Split]:
    """((x_train, y_train), (x_val, y_val)): images float32 [n, 8, 8, 1] in 0 … 1."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x = (digits.images[order, ..., None] / 16).astype(np.float32)
    y = digits.target[order].astype(np.int64)
    return (x[:1297], y[:1297]), (x[1297:], y[1297:])


def network(train: Split, epochs: int = 12) -> keras.Model:
    """A convolutional network, compiled and trained."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.Conv2D(24, 3, strides=2, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )
    model.compile(
        keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(*train, batch_size=32, epochs=epochs, verbose=0)
    return model


def main(directory: Path, trials: int) -> None:
    """Searches; the trained model stays in the directory: a second call must be of the same."""
    train, val = data()
    path = directory / "digits.keras"
    if not path.is_file():
        network(train).save(path)
    report = hwsearch.optimize(
        path,
        BUDGET,
        train,
        val,
        board="nucleo-l4r5zi",
        trials=trials,
        study="digits",
        space=SPACE,
        directory=directory / "mlruns",
    )
    print(
        json.dumps(
            {
                "trained": report.trained,
                "scored": report.scored,
                "failed": report.failed,
                "interrupted": report.interrupted,
                "chosen": None if report.chosen is None else report.chosen.number,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
