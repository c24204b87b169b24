"""A hypermodel on scikit-learn's digits, and a script that searches it.

As a script: ``python hypermodel.py DIRECTORY EPOCHS`` searches; a fit adds a line to ``fits``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from sklearn.datasets import load_digits

import hwsearch

BUDGET = hwsearch.Budget(flash="16 KiB")
SPACE = hwsearch.Space(
    pruning_ratio=(0, 0.5), weight_bits=(8,), activation_bits=(8,), saliency=("l1",), epochs=1
)


def data() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


class Digits(keras_tuner.HyperModel):  # type: ignore[misc]
    """A hidden layer: 16 units fit as they are, 256 when pruned, 4096 never."""

    def __init__(self, fits: Path | None = None) -> None:
        super().__init__()
        self.fits = fits
        self.fitted: list[int] = []

    def build(self, hp: Any) -> Any:
        units = hp.Choice("units", [16, 256, 4096], ordered=False)
        model = keras.Sequential(
            [
                keras.Input((64,)),
                keras.layers.Dense(units, activation="relu"),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        self.fitted.append(hp.get("units"))
        if self.fits is not None:
            with self.fits.open("a") as file:
                print(hp.get("units"), file=file)
        return model.fit(*args, **kwargs)


def tuner(directory: Path, hypermodel: Any, **given: Any) -> hwsearch.HardwareTuner:
    settings: dict[str, Any] = {
        "objective": "val_accuracy", "max_trials": 3, "seed": 1, "budget": BUDGET,
        "board": "nucleo-l4r5zi", "space": SPACE, "directory": directory,
        "project_name": "digits", "tracking": directory / "mlruns",
    }  # fmt: skip
    return hwsearch.HardwareTuner(hypermodel, **(settings | given))


def search(made: hwsearch.HardwareTuner, epochs: int = 2) -> None:
    train, val = data()
    made.search(*train, epochs=epochs, batch_size=64, validation_data=val, verbose=0)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    search(tuner(place, Digits(place / "fits")), epochs=int(sys.argv[2]))
