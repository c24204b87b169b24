"""Print what formats of weights save and cost in ``aot``: ``make bench-formats``.

Networks as they are, pruned and clustered, each linked for an emulated Cortex-M4: first with dense
weights, then in the formats that the compiler chooses. Bytes are of the linked image, instructions
are counted on the emulated core.

LeNet, on scikit-learn's digits or with --fashion on Fashion-MNIST, is fine-tuned after a change;
its accuracy is of the artefact, on images that training never saw. The MLPerf Tiny models of
../shared are not trained: their rows say what a format costs, not what is left of the accuracy.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from benchmarks.aot_cost import MLPERF, MODELS
from benchmarks.aot_fit import observe
from benchmarks.compressed import clustered, pruned
from hwsearch.backends import aot_formats
from hwsearch.backends.aot_flash import flash_bytes
from hwsearch.backends.aot_measured import target
from hwsearch.codegen.dead import without_dead_channels
from hwsearch.codegen.formats import SLOWDOWN, eligible
from hwsearch.graph.tflite import TfliteModel, read

CORE, COMPILER = "M4", "gcc"
TARGET = target(CORE, COMPILER)
SPARSITY = (0.5, 0.7, 0.8, 0.9)
CLUSTERS = 16
TESTED = 5000
"""Test images that accuracies are of, where there are more."""


@dataclass(frozen=True)
class Variant:
    """One network with its weights changed: what was done, the file, accuracy where trained."""

    network: str
    change: str
    content: bytes
    accuracy: float | None = None


def mlperf() -> Iterator[Variant]:
    """The MLPerf Tiny models, changed and not trained again."""
    for name, file in MLPERF.items():
        if not (MODELS / file).exists():
            print(f"{file} is not in {MODELS}: left out", file=sys.stderr)
            continue
        content = (MODELS / file).read_bytes()
        yield Variant(name, "as it is", content)
        for sparsity in SPARSITY:
            yield Variant(name, f"{sparsity:.0%} zeros", pruned(content, sparsity))
        yield Variant(name, f"{CLUSTERS} values", clustered(content, CLUSTERS))


def lenet(fashion: bool) -> Iterator[Variant]:
    """LeNet-5, fine-tuned for a third of its epochs after each change."""
    import keras

    from hwsearch.compress.quantize import calibrate, quantize
    from hwsearch.convert import to_float_tflite
    from hwsearch.evaluate import fast

    keras.utils.set_random_seed(0)
    if fashion:
        import fashion_mnist as dataset

        (x, y), (x_test, y_test) = dataset.load()
    else:
        import digits

        (x, y), (x_test, y_test) = digits.data()
    x_test, y_test = x_test[:TESTED], y_test[:TESTED]
    epochs = 6 if fashion else 45
    name = f"LeNet-5, {'Fashion-MNIST' if fashion else 'digits 8x8'}"
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(x.shape[1:]),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 5 if fashion else 3, activation="relu"),
            *([layers.MaxPooling2D()] if fashion else []),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )

    def fit(rate: float, epochs: int, *callbacks: Any) -> None:
        steps = max(1, epochs * len(x) // (128 if fashion else 32))
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(schedule), loss=loss)
        model.fit(
            x,
            y,
            batch_size=128 if fashion else 32,
            epochs=epochs,
            verbose=0,
            callbacks=list(callbacks),
        )

    def artefact() -> bytes:
        return quantize(calibrate(to_float_tflite(model), [x[:256]]), 8, {})

    def variant(change: str, content: bytes) -> Variant:
        (scores,) = fast(content, [x_test])
        return Variant(name, change, content, float((scores.argmax(-1) == y_test).mean()))

    fit(2e-3, epochs)
    start = model.get_weights()
    yield variant("as it is", artefact())
    fit(1e-3, epochs // 3)
    yield variant("as it is, tuned on", artefact())
    for sparsity in SPARSITY:
        model.set_weights(start)
        kernels = [layer.kernel for layer in model.layers if layer.weights]
        kept = [_largest(k.numpy(), sparsity) for k in kernels]
        pairs = list(zip(kernels, kept, strict=True))
        fit(1e-3, epochs // 3, keras.callbacks.LambdaCallback(on_train_batch_end=_masking(pairs)))
        yield variant(f"{sparsity:.0%} zeros", artefact())
    model.set_weights(start)
    fit(1e-3, epochs // 3)
    yield variant(f"{CLUSTERS} values", clustered(artefact(), CLUSTERS))


def _masking(pairs: list[tuple[Any, np.ndarray]]) -> Callable[[int, Any], None]:
    """After every step sets what was pruned to zero again."""

    def apply(batch: int, logs: Any) -> None:
        for kernel, mask in pairs:
            kernel.assign(kernel * mask)

    return apply


def _largest(kernel: np.ndarray, sparsity: float) -> np.ndarray:
    """float32: 0 for the share of a kernel's values that are least in magnitude, else 1."""
    order = np.argsort(np.abs(kernel).reshape(-1), kind="stable")
    kept = np.ones(kernel.size, np.float32)
    kept[order[: round(sparsity * kernel.size)]] = 0
    return kept.reshape(kernel.shape)


def chosen(model: TfliteModel) -> dict[int, str]:
    """The compiler's choice."""
    return aot_formats.formats_of(model, CORE, SLOWDOWN)


@dataclass(frozen=True)
class Measured:
    """One image.

    Attributes:
        flash_bytes, arena_bytes, instructions: as linked and run.
        estimate: of flash over what was linked - 1.
        layers: how many are sparse, have a palette, are dense.
        zeros: share of zeros in their weights.
    """

    flash_bytes: int
    arena_bytes: int
    instructions: int
    estimate: float
    layers: tuple[int, int, int]
    zeros: float


def measured(content: bytes, dense: bool = False) -> Measured:
    """The image of a network, in the formats that are chosen for it or with dense weights."""
    formats_for = (lambda model: {}) if dense else chosen
    (observed,) = observe([("", content)], CORE, COMPILER, formats_for)
    model = without_dead_channels(read(content))
    formats = list(formats_for(model).values())
    flash = flash_bytes(
        observed.columns,
        TARGET,
        None if dense else aot_formats.chosen(observed.columns, TARGET, SLOWDOWN),
    )
    weights = [model.constant(model.graph.ops[op].inputs[1]) for op in eligible(model.graph)]
    counts = (formats.count("sparse"), formats.count("palette"), len(weights) - len(formats))
    zeros = sum((w == 0).sum() for w in weights) / sum(w.size for w in weights)
    return Measured(
        observed.image.flash_bytes, observed.arena_bytes, observed.instructions,
        int(flash[0]) / observed.image.flash_bytes - 1, counts, float(zeros),
    )  # fmt: skip


def line(variant: Variant, made: Measured, whole: Measured) -> str:
    """A row of the table; ``whole`` is the network as it is, with dense weights."""
    cells = [
        variant.network, variant.change, f"{made.zeros:.0%}", " / ".join(map(str, made.layers)),
        f"{made.flash_bytes:,}", f"{made.flash_bytes / whole.flash_bytes - 1:+.0%}",
        f"{made.arena_bytes - whole.arena_bytes:+,}",
        f"{made.instructions:,}", f"{made.instructions / whole.instructions:.2f}",
        f"{made.estimate:+.1%}",
        "" if variant.accuracy is None else f"{100 * variant.accuracy:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fashion", action="store_true", help="LeNet on Fashion-MNIST")
    parser.add_argument("--only", choices=("mlperf", "lenet"), help="half of the table")
    arguments = parser.parse_args()
    print("| network | weights | zeros | layers: sparse / palette / dense | flash, B | against |"
          " arena, B | instructions | times | estimate of flash | accuracy, % |")  # fmt: skip
    print("| --- | --- |" + " ---: |" * 9)
    wholes: dict[str, Measured] = {}
    variants: list[Iterator[Variant]] = []
    if arguments.only != "lenet":
        variants.append(mlperf())
    if arguments.only != "mlperf":
        variants.append(lenet(arguments.fashion))
    for variant in itertools.chain(*variants):
        if variant.network not in wholes:
            wholes[variant.network] = measured(variant.content, dense=True)
        made = measured(variant.content)
        print(line(variant, made, wholes[variant.network]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
