"""Zeros, shared values and QAT: ours, tfmot's, and none at all, on one network.

    python -m benchmarks.single_weights [SEEDS]       # about five minutes a seed, idle

The network is the one of ``search_grid`` on Fashion-MNIST; each row is the same fine-tune of it
(epochs, images, rate) and the accuracy of the quantized artefact on the 10,000 test images.
"After" is the same fine-tune without, and then the zeros, shared values or bits at once.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from benchmarks.search_grid import base, grid
from hwsearch.compress.elementwise import Elementwise, project
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.compress.tuning import Tuning
from hwsearch.convert import to_float_tflite
from hwsearch.data import Samples
from hwsearch.evaluate import fast
from hwsearch.graph import tflite
from hwsearch.train import estimate_statistics

EPOCHS, IMAGES, RATE = 3, 20_000, 2e-3
SCHEDULE = "agp"

NOTHING = Elementwise()
WANTED = {
    "nothing, int8": (Elementwise(), 8),
    "80 % zeros": (Elementwise(sparsity=0.8), 8),
    "90 % zeros": (Elementwise(sparsity=0.9), 8),
    "2:4 zeros": (Elementwise(sparsity=0.5, pattern="2:4"), 8),
    "16 values": (Elementwise(clusters=16), 8),
    "80 % zeros, 16 values": (Elementwise(sparsity=0.8, clusters=16), 8),
    "QAT, int8": (Elementwise(qat=True), 8),
    "QAT, all weights int4": (Elementwise(qat=True), 4),
}


def tuned(data: Samples, wanted: Elementwise, low: dict[int, int], seed: int) -> tuple[Any, float]:
    """(the network fine-tuned, seconds)."""
    model = keras.models.load_model(base.FILE)
    settings = {"learning_rate": RATE, "batch_size": 128, "samples": IMAGES, "seed": seed}
    tune = Tuning(data, grid.LOSS, settings, wanted, SCHEDULE, EPOCHS, low)
    started = time.monotonic()
    for note in tune(model, EPOCHS).notes:
        print(f"  {note}", file=sys.stderr)
    return model, time.monotonic() - started


def accuracy(model: Any, data: Samples, test: Samples, low: dict[int, int]) -> float:
    """Of the artefact, in percent."""
    content = quantize(calibrate(to_float_tflite(model), data.inputs), 8, low)
    (made,) = fast(content, test.inputs)
    return 100 * float((made.argmax(axis=1) == test.targets[0]).mean())


def row(data: Samples, test: Samples, wanted: Elementwise, bits: int, seed: int) -> list[float]:
    """Accuracies after, by ours and by tfmot, and the seconds of the latter two."""
    graph = tflite.read(to_float_tflite(keras.models.load_model(base.FILE))).graph
    ops = [i for i, op in enumerate(graph.ops) if op.kind in ("conv_2d", "fully_connected")]
    low = dict.fromkeys(ops, 4) if bits == 4 else {}
    plain, seconds = tuned(data, NOTHING, low, seed)
    if project(plain, wanted):
        estimate_statistics(plain, data, seed)
    found, took = [accuracy(plain, data, test, low)], [seconds]
    for trainer in ("keras", "tfmot") if wanted else ():
        model, seconds = tuned(data, replace(wanted, trainer=trainer), low, seed)
        found.append(accuracy(model, data, test, low))
        took.append(seconds)
    return [*found, *took]


def main() -> None:
    """Prints the table."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    (x, y), (x_test, y_test) = base.images()
    with tempfile.TemporaryDirectory() as name:  # mapped, as a search has them
        Samples((x[grid.TRAIN_IMAGES],), (y[grid.TRAIN_IMAGES],)).save(Path(name))
        data, test = Samples.load(Path(name)), Samples((x_test,), (y_test,))
        print("| accuracy, % | after | keras | tfmot | s: after, keras, tfmot |")
        print("| --- | --- | --- | --- | --- |")
        for what, (wanted, bits) in WANTED.items():
            rows = [row(data, test, wanted, bits, seed) for seed in seeds]
            means = [statistics.mean(column) for column in zip(*rows, strict=True)]
            half = len(means) // 2
            shown = [f"{v:.2f}" for v in means[:half]] + [""] * (3 - half)
            seconds = ", ".join(f"{v:.0f}" for v in means[half:])
            print(f"| {what} | {' | '.join(shown)} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
