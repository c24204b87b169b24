"""A budget that is tightened step by step, until nothing fits: what each KiB of flash buys.

Run: python examples/02_tighter_budget.py
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
FLASH = ("24 KiB", "2 KiB") if QUICK else ("48 KiB", "32 KiB", "24 KiB", "16 KiB", "2 KiB")


def main() -> None:
    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test) = fashion_mnist.load()
    if QUICK:
        x, y, x_test, y_test = x[:720], y[:720], x_test[:200], y_test[:200]
    blocks = [keras.Input(x.shape[1:])]
    for width in (24, 32, 48):
        blocks += [keras.layers.Conv2D(width, 3, 2, "same", activation="relu")]
    blocks += [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential(blocks, name="tighter")
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=128, epochs=1 if QUICK else 4, verbose=2)

    print(f"{'flash':>8} {'accuracy':>9} {'95 % interval':>17} {'used':>9} {'RAM':>9}  runtime")
    for flash in FLASH:
        report = hwsearch.optimize(
            model,
            hwsearch.Budget(flash=flash, ram="16 KiB", latency="30 ms"),
            data=(x, y),
            test_data=(x_test, y_test),
            board="nucleo-l4r5zi",
            trials=1 if QUICK else 8,
            space=hwsearch.Space(weight_bits=(8, 4), activation_bits=(8,), epochs=1),
        )
        best = report.chosen
        if best is None:
            print(f"{flash:>8} nothing fits. {report.explain()}")
            continue
        used, ram = best.known("flash_bytes") or 0, best.known("ram_bytes") or 0
        print(
            f"{flash:>8} {best.score.value:9.4f} {best.score.low:8.4f} {best.score.high:8.4f} "
            f"{used / 1024:5.1f} KiB {ram / 1024:5.1f} KiB  {best.configuration.backend}"
        )


if __name__ == "__main__":
    main()
