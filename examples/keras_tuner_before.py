"""A KerasTuner script without a microcontroller in sight; 08_keras_tuner.py has one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import fashion_mnist
import keras
import keras_tuner

QUICK = bool(os.environ.get("HWSEARCH_QUICK"))  # a test runs this file with tiny settings


def build(hp):
    """A network of one to three blocks, with or without a hidden layer."""
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for i in range(hp.Int("blocks", 1, 3)):
        filters = hp.Int(f"filters_{i}", 8, 64, step=8)
        model.add(keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu"))
    model.add(keras.layers.GlobalAveragePooling2D())
    if hp.Boolean("hidden"):
        with hp.conditional_scope("hidden", [True]):
            model.add(keras.layers.Dense(hp.Choice("units", [32, 128, 512]), activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(
        keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-2, sampling="log")),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


(x_train, y_train), (x_val, y_val) = fashion_mnist.load()
if QUICK:
    x_train, y_train, x_val, y_val = x_train[:640], y_train[:640], x_val[:200], y_val[:200]

settings = {
    "objective": "val_accuracy",
    "max_trials": 1 if QUICK else 8,
    "seed": 1,
    "directory": "out",
    "project_name": "keras_tuner",
}
tuner = keras_tuner.RandomSearch(build, **settings)
tuner.search_space_summary()
tuner.search(x_train, y_train, epochs=1 if QUICK else 3, validation_data=(x_val, y_val))
tuner.results_summary(3)
