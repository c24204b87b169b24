"""A board of one's own, from a TOML file: what a model takes of it, and a search for it.

Run: python examples/06_own_board.py
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
BOARD = str(Path(__file__).with_suffix(".toml"))


def main() -> None:
    keras.utils.set_random_seed(0)
    (x, y), test = fashion_mnist.load()
    if QUICK:
        x, y, test = x[:720], y[:720], (test[0][:200], test[1][:200])
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Conv2D(16, 3, 2, "same", activation="relu"),
            keras.layers.Conv2D(32, 3, 2, "same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="own_board",
    )
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=128, epochs=1 if QUICK else 4, verbose=2)

    for backend in ("aot", "tflm", "tflm-cmsis-nn"):
        cost = hwsearch.estimate(model, board=BOARD, backend=backend)
        seconds, joules = cost.latency_s or 0, cost.energy_j or 0
        print(
            f"{backend:14} flash {cost.flash_bytes:7,} B  RAM {cost.ram_bytes:6,} B  "
            f"{seconds * 1e3:5.1f} ms ({cost.bands['latency_s'].basis})  {joules * 1e3:.3f} mJ"
        )

    report = hwsearch.optimize(
        model,
        hwsearch.Budget(flash="24 KiB", ram="8 KiB", energy="0.2 mJ"),
        data=(x, y),
        test_data=test,
        board=BOARD,
        trials=1 if QUICK else 10,
        space=hwsearch.Space(epochs=1) if QUICK else "cnn",
    )
    report.table()
    print(report.explain())


if __name__ == "__main__":
    main()
