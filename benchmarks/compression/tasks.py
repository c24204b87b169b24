"""Tasks of the compression benchmark: a network, its data, its metric, how it is trained.

:func:`original` gives a task's trained network, which is kept; every method starts from it.
Data comes in three parts: to train on, to search by, and to report on, which no method sees.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from benchmarks.compression import networks
from hwsearch.data import Samples

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import fashion_mnist
import keywords

ORIGINALS = Path(__file__).parent / "originals"
"""Trained networks."""

SEARCH = 5000
"""Training images kept for methods that choose among candidates."""

WORDS = (*keywords.WORDS, "left", "right", "on", "off")
"""The ten words of Speech Commands' usual task (Warden 2018)."""


@dataclass(frozen=True)
class Split:
    """Data of a task."""

    train: Samples
    search: Samples
    report: Samples


@dataclass(frozen=True)
class Task:
    """One row of the benchmark.

    Attributes:
        build: the network, not trained.
        data: its data.
        loss, metric, mode: as ``hwsearch.optimize`` takes them.
        epochs, learning_rate: of the original's training.
        tuned: epochs of training that every method may spend.
        levels: shares of each group's channels that the budget takes away.
        zeros: shares of weights that ``zeros`` sets to 0, at the original's widths.
        long: the same of ``zeros-long``, which trains for twice the epochs.
        narrow: shares of each group's channels that ``l2+zeros-long`` cuts, which does too.
        whole: whether the other methods that leave the widths alone are measured too.
    """

    name: str
    build: Callable[[], keras.Model]
    data: Callable[[], Split]
    loss: str
    metric: Any
    epochs: int
    tuned: int
    learning_rate: float = 2e-3
    levels: tuple[float, ...] = (0.5, 0.7, 0.85)
    zeros: tuple[float, ...] = (0.72, 0.8, 0.905, 0.975)
    long: tuple[float, ...] = ()
    narrow: tuple[float, ...] = ()
    whole: bool = True
    mode: Literal["max"] = "max"


@cache
def clothes() -> Split:
    """Fashion-MNIST: 55,000 to train, 5,000 to search by, its 10,000 test images to report."""
    (x, y), (x_test, y_test) = fashion_mnist.load()
    order = np.random.default_rng(0).permutation(len(x))
    search, train = np.sort(order[:SEARCH]), np.sort(order[SEARCH:])
    whole = Samples((x,), (y,))
    return Split(whole.take(train), whole.take(search), Samples((x_test,), (y_test,)))


@cache
def spoken() -> Split:
    """Ten words of 60 espeak-ng voices, 45 of them to train; a tenth of those clips to search."""
    (x, y), test = keywords.load(WORDS)
    held = np.arange(len(x)) % 10 == 0
    whole = Samples((x,), (y,))
    train, search = whole.take(np.flatnonzero(~held)), whole.take(np.flatnonzero(held))
    return Split(train, search, Samples((test[0],), (test[1],)))


@cache
def motors() -> Split:
    """Spectra of healthy motors to train on; healthy and sick ones to search by and report on."""
    x = _example("05_anomaly_detection").spectra(8_000, False, 1)
    search, report = (
        _example("05_anomaly_detection").labelled(n, seed)
        for n, seed in ((1_000, 10), (4_000, 20))
    )
    samples = [Samples((inputs,), (targets,)) for inputs, targets in (search, report)]
    return Split(Samples((x,), (x,)), *samples)


@cache
def _example(name: str) -> Any:
    """One of the numbered examples, whose network and data are a task's."""
    return importlib.import_module(name)


def ds_cnn() -> keras.Model:
    """MLPerf Tiny's network for keyword spotting, of example 4."""
    return _example("04_keyword_spotting").ds_cnn(len(WORDS))


def autoencoder() -> keras.Model:
    """The autoencoder of example 5."""
    return _example("05_anomaly_detection").autoencoder()


def _detection(targets: Any, outputs: Any) -> float:
    return float(_example("05_anomaly_detection").detection(targets, outputs))


_LABELS = "sparse_categorical_crossentropy"
_clothes = partial(Task, data=clothes, loss=_LABELS, metric="accuracy")
TASKS = {
    task.name: task
    for task in (
        Task("anomaly", autoencoder, motors, "mse", _detection, 40, 30, 4e-3),
        _clothes("lenet5", networks.lenet5, epochs=15, tuned=12),
        Task("ds_cnn", ds_cnn, spoken, _LABELS, "accuracy", 15, 40),
        _clothes("lenet_large", networks.lenet_large, epochs=8, tuned=10, learning_rate=1e-3,
                 levels=(0.7,), zeros=(0.971,), long=(0.971,), whole=False),
        _clothes("resnet8", networks.resnet8, epochs=12, tuned=10,
                 levels=(0.5,), zeros=(0.72, 0.905), whole=False),
        _clothes("vgg", networks.vgg, epochs=10, tuned=16,
                 levels=(0.5,), zeros=(0.905,), narrow=(0.6,), whole=False),
    )
}  # fmt: skip
"""By name, the quickest to train first."""


def original(task: Task) -> keras.Model:
    """The task's trained network, compiled. Kept in the repository, because another machine would
    train another one; trained again, and kept, where its recipe has changed."""
    layers = [type(layer).__name__ for layer in task.build().layers]
    shapes = [w.shape for w in task.build().get_weights()]
    key = repr((layers, shapes, task.epochs, task.learning_rate))
    path = ORIGINALS / f"{task.name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.keras"
    if not path.is_file():
        keras.utils.set_random_seed(0)
        model, train = task.build(), task.data().train
        steps = -(-len(train) // 128) * task.epochs
        rate = keras.optimizers.schedules.CosineDecay(task.learning_rate, steps)
        model.compile(keras.optimizers.Adam(rate), loss=task.loss, jit_compile=False)
        model.fit(train.inputs[0], train.targets[0], batch_size=128, epochs=task.epochs, verbose=0)
        model.compile(loss=task.loss, jit_compile=False)  # Adam's moments are not kept
        ORIGINALS.mkdir(exist_ok=True)
        model.save(path)
    return keras.models.load_model(path)
