"""Quickstart: a small convolutional network on Fashion-MNIST, made to fit a Cortex-M4 budget.

Run: make demo
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import fashion_mnist
import keras

import hwsearch

QUICK = bool(os.environ.get("HWSEARCH_QUICK"))  # a test runs this file with tiny settings


def network(shape: tuple[int, ...]) -> keras.Model:
    """A plain convolutional network, as one would write it without a microcontroller in mind."""
    layers = keras.layers
    blocks: list[keras.Layer] = [layers.Input(shape)]
    for width, stride in ((32, 2), (48, 1), (64, 2), (96, 1)):
        blocks += [
            layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
        ]
    blocks += [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    return keras.Sequential(blocks, name="quickstart")


def main() -> None:
    keras.utils.set_random_seed(0)
    (x_train, y_train), test = fashion_mnist.load()
    if QUICK:
        x_train, y_train, test = x_train[:720], y_train[:720], (test[0][:200], test[1][:200])
    held_out = len(x_train) // 6  # the search sees these, never the test images
    validation = x_train[:held_out], y_train[:held_out]
    x_train, y_train = x_train[held_out:], y_train[held_out:]

    model = network(x_train.shape[1:])
    epochs = 1 if QUICK else 3
    rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * len(x_train) // 128)
    model.compile(
        keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(x_train, y_train, batch_size=128, epochs=epochs, verbose=2)

    report = hwsearch.optimize(
        model,
        hwsearch.Budget(flash="28 KiB", ram="16 KiB", latency="40 ms"),
        data=(x_train, y_train),
        validation_data=validation,
        test_data=test,
        board="nucleo-l4r5zi",
        objectives=("accuracy", "flash"),  # so that ten trials are enough; the limits hold anyway
        trials=2 if QUICK else 10,
        workers=1 if QUICK else 2,
        space=hwsearch.Space(epochs=1 if QUICK else 3, batch_size=128, learning_rate=4e-3),
    )
    report.table()
    print(report.explain())
    if report.chosen is not None:
        print("exported to", report.chosen.export("out/quickstart"))


if __name__ == "__main__":
    main()
