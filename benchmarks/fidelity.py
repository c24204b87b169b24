"""What promotion buys: ``python -m benchmarks.fidelity`` prints the table of docs/search.md.

Two searches of about as many epochs of training, all really trained: one where each trial has all
its epochs, one where trials are short and the front's are promoted (``Space.rungs``). The network
is the quickstart's, on fewer images of half the size, so that a training takes seconds. What
counts is what is verified at the end, on test images that no search saw.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(Path(__file__).parents[1] / "examples")]

import fashion_mnist  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

import hwsearch  # noqa: E402
from hwsearch.search.training import RESULT, TRAINED  # noqa: E402

LONG, SHORT = 8, 2
"""Epochs of a full fine-tune, and of the first rung."""

FULL_TRIALS, PROMOTING_TRIALS = 9, 16
"""Trainings of either search: 72 epochs; 12 short ones, 4 promotions and up to 4 finalists."""

TRAIN, SEARCH, TEST = 2_000, 2_000, 4_000
"""Images."""

BUDGET = hwsearch.Budget(flash="64 KiB", ram="8 KiB", latency="40 ms")
FLOOR = 0.7
"""Accuracy from which on a model counts."""


@dataclass(frozen=True)
class Outcome:
    """What one search came to.

    Attributes:
        epochs: spent in all trainings, the finalists' too.
        seconds: of the search.
        volume: what the verified models dominate of the box between the limits and a perfect
            model of no bytes, by flash and accuracy on test images.
        accuracy: the best of them, on test images.
    """

    epochs: int
    seconds: float
    volume: float
    accuracy: float


def search(model: Path, data: tuple[Any, Any, Any], promotes: bool, seed: int) -> Outcome:
    """One search and what it came to."""
    epochs: dict[str, Any] = {"epochs": SHORT, "rungs": (LONG,)} if promotes else {"epochs": LONG}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        report = hwsearch.optimize(
            model, BUDGET, *data, board="nucleo-l4r5zi", objectives=("accuracy", "flash"),
            trials=PROMOTING_TRIALS if promotes else FULL_TRIALS, backends=("tflm",), seed=seed,
            space=hwsearch.Space(**epochs),
            study="s", directory=folder,
        )  # fmt: skip
        seconds = time.monotonic() - begin
        spent = spent_in(Path(folder) / "studies" / "s" / TRAINED)
    found = [
        (v.score.value, float(v.trained.candidate.cost.flash_bytes or 0)) for v in report.finalists
    ]
    best = max(accuracy for accuracy, _ in found)
    return Outcome(spent, seconds, dominated(found, BUDGET.limits["flash_bytes"]), best)


def spent_in(trained: Path) -> int:
    """Epochs of all trainings in a study's folder; a promotion's own are those after the first."""
    epochs = {
        p.name: len(json.loads((p / RESULT).read_text())["curve"]) for p in trained.iterdir()
    }
    before = sum(epochs[name.partition("-")[0]] for name in epochs if "-" in name)
    return sum(epochs.values()) - before


def dominated(found: list[tuple[float, float]], limit: float) -> float:
    """The share of accuracies from FLOOR to 1 and bytes up to a limit that models dominate."""
    area, best = 0.0, FLOOR
    for accuracy, flash in sorted(found, key=lambda model: model[1]):
        area += max(0.0, accuracy - best) * (limit - flash)
        best = max(best, accuracy)
    return area / ((1 - FLOOR) * limit)


def halved(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of two by two pixels."""
    n, height, width, channels = images.shape
    return images.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def main(seeds: int) -> None:
    """Searches with both, seed by seed, and prints a table."""
    (x, y), (x_test, y_test) = fashion_mnist.load()
    x, x_test = (halved(images) for images in (x, x_test))
    train, validation = (x[:TRAIN], y[:TRAIN]), (x[-SEARCH:], y[-SEARCH:])
    data = train, validation, (x_test[:TEST], y_test[:TEST])
    keras.utils.set_random_seed(0)
    model = importlib.import_module("01_quickstart").network(x.shape[1:])
    model.compile(
        keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(*train, batch_size=64, epochs=10, verbose=0)
    found: dict[bool, list[Outcome]] = {False: [], True: []}
    print("| seed | search | trainings | epochs | seconds | hypervolume | best accuracy |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        for seed in range(seeds):
            for promotes in found:
                out = search(path, data, promotes, seed)
                found[promotes].append(out)
                name = f"{SHORT}, promoted to {LONG}" if promotes else f"{LONG} each"
                count = PROMOTING_TRIALS if promotes else FULL_TRIALS
                print(
                    f"| {seed} | {name} | {count} | {out.epochs} | {out.seconds:.0f} | "
                    f"{out.volume:.4f} | {out.accuracy:.4f} |",
                    flush=True,
                )
    for what in ("volume", "accuracy"):
        pairs = zip(found[True], found[False], strict=True)
        gains = [getattr(one, what) - getattr(other, what) for one, other in pairs]
        spread = statistics.stdev(gains) if seeds > 1 else float("nan")
        print(
            f"{what}: promotion less full trainings {statistics.mean(gains):+.4f}, standard error "
            f"{spread / seeds**0.5:.4f}, better with {sum(g > 0 for g in gains)} of {seeds} seeds"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    main(parser.parse_args().seeds)
