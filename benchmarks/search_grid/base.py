"""The network that the grid prunes: trained once, kept in ``data/base.keras``."""

from __future__ import annotations

from typing import Any

import keras

from benchmarks.search_grid import grid
from hwsearch.board import boards
from hwsearch.problem import Given, Problem, problem

FILE = grid.DATA / "base.keras"
EPOCHS, BATCH, RATE = 3, 128, 4e-3


def images() -> tuple[Any, Any]:
    """((x, y) of 60,000 training images, (x, y) of 10,000 test images)."""
    import fashion_mnist  # examples/

    train, test = fashion_mnist.load()
    if train[0].shape != (60_000, 28, 28, 1):
        raise SystemExit("the grid is of Fashion-MNIST, which is not to be had on this machine")
    return train, test


def network() -> keras.Model:
    """Four convolutions, each with batch normalization; one channel group each."""
    layers = keras.layers
    blocks: list[keras.Layer] = [layers.Input((28, 28, 1))]
    for i, (width, stride) in enumerate(zip(grid.WIDTHS, grid.STRIDES, strict=True)):
        blocks += [
            layers.Conv2D(
                width, 3, strides=stride, padding="same", use_bias=False, name=f"conv_{i}"
            ),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
        ]
    blocks += [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    return keras.Sequential(blocks, name="grid")


def train() -> None:
    """Trains the network and writes :data:`FILE`."""
    keras.utils.set_random_seed(0)
    (x, y), _ = images()
    x, y = x[grid.BASE_IMAGES], y[grid.BASE_IMAGES]
    model = network()
    rate = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * len(x) // BATCH)
    model.compile(keras.optimizers.Adam(rate), loss=grid.LOSS)
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    bare = network()  # a file without the optimizer's state
    bare.set_weights(model.get_weights())
    FILE.parent.mkdir(exist_ok=True)
    bare.save(FILE)


def load() -> Problem:
    """The problem that a search of this network starts from."""
    (x, y), (x_test, y_test) = images()
    given = Given(
        data=(x[grid.TRAIN_IMAGES], y[grid.TRAIN_IMAGES]),
        validation_data=(x[: grid.SAMPLES], y[: grid.SAMPLES]),
        test_data=(x_test[: grid.SAMPLES], y_test[: grid.SAMPLES]),
        loss=grid.LOSS,
        metric=grid.METRIC,
        backends=grid.BACKENDS,
        space=grid.SPACE,
    )
    return problem(FILE, boards()[grid.BOARD], given)
