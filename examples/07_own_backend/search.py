"""Searches for the plugin's runtime and compares it with those that hwsearch brings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import fashion_mnist
import keras

import hwsearch

QUICK = bool(os.environ.get("HWSEARCH_QUICK"))  # a test runs this file with tiny settings


def main() -> None:
    keras.utils.set_random_seed(0)
    (x, y), test = fashion_mnist.load()
    if QUICK:
        x, y, test = x[:720], y[:720], (test[0][:200], test[1][:200])
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Conv2D(16, 3, 2, "same", activation="relu"),
            keras.layers.Conv2D(24, 3, 2, "same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="own_backend",
    )
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=128, epochs=1 if QUICK else 4, verbose=2)
    report = hwsearch.optimize(
        model,
        hwsearch.Budget(flash="24 KiB", ram="8 KiB", latency="30 ms"),
        data=(x, y),
        test_data=test,
        board="nucleo-l4r5zi",
        backends=["ping-pong", "aot"],
        trials=2 if QUICK else 10,
        space="int8-only" if not QUICK else hwsearch.Space(weight_bits=(8,), epochs=1),
    )
    report.table()
    print(report.explain())


if __name__ == "__main__":
    main()
