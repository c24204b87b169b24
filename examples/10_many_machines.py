"""Many machines: a search in a database, and a worker that joins it from another process.

Here all run on this machine, with a database in a file. For several machines give a database that
all reach, e.g. ``postgresql+psycopg://user@host/hwsearch``, and start on each of them:

    hwsearch worker --storage postgresql+psycopg://user@host/hwsearch --study many --workers 4

Run: python examples/10_many_machines.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import fashion_mnist
import keras

import hwsearch

QUICK = bool(os.environ.get("HWSEARCH_QUICK"))  # a test runs this file with tiny settings
DIRECTORY = Path("mlruns").absolute()
STORAGE = os.environ.get("HWSEARCH_STORAGE", f"sqlite:///{DIRECTORY / 'many.db'}")


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
        name="many",
    )
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=128, epochs=1 if QUICK else 4, verbose=2)

    DIRECTORY.mkdir(exist_ok=True)
    helper = threading.Thread(target=join, args=("many",))
    helper.start()
    report = hwsearch.optimize(
        model,
        hwsearch.Budget(flash="24 KiB", ram="8 KiB", latency="30 ms"),
        data=(x, y),
        test_data=test,
        board="nucleo-l4r5zi",
        trials=4 if QUICK else 16,
        study="many",
        storage=STORAGE,
        directory=DIRECTORY,
        space=hwsearch.Space(epochs=1) if QUICK else "cnn",
    )
    helper.join()
    report.table()


def join(study: str) -> None:
    """What another machine runs: a worker, started again until the study has been created."""
    command = [sys.executable, "-m", "hwsearch.cli", "worker", "--storage", STORAGE]
    command += ["--study", study, "--directory", str(DIRECTORY)]
    for _ in range(60):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        time.sleep(2)
    print("the worker said:", done.stderr.strip(), sep="\n")


if __name__ == "__main__":
    main()
