"""Overnight: four objectives, eight hours, and a study that goes on where it stopped.

Run: python examples/03_overnight.py

The same call goes on after Ctrl-C, a crash or a power cut: the network is trained once, and the
study keeps every trial. To let other machines help, give both the same database and start, there:

    export HWSEARCH_STORAGE=postgresql+psycopg://user@host/hwsearch
    hwsearch worker --storage $HWSEARCH_STORAGE --study overnight
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import fashion_mnist
import keras
from keras import layers

import hwsearch

QUICK = bool(os.environ.get("HWSEARCH_QUICK"))  # a test runs this file with tiny settings
HOURS = 8
OUT = Path("out/overnight")


def block(x: keras.KerasTensor, width: int, stride: int) -> keras.KerasTensor:
    """Two convolutions beside a shortcut: their channels can only be pruned together."""
    y = x
    for step in (stride, 1):
        y = layers.Conv2D(width, 3, strides=step, padding="same", use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
    if stride > 1 or x.shape[-1] != width:
        x = layers.Conv2D(width, 1, strides=stride, use_bias=False)(x)
    return layers.Add()([x, y])


def network(shape: tuple[int, ...]) -> keras.Model:
    """A small residual network."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for width, stride in ((32, 2), (48, 2), (64, 1)):
        x = block(x, width, stride)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="overnight")


def trained(data: fashion_mnist.Split) -> Path:
    """The network's file; trained unless an earlier run did it: a study is of one network."""
    path = OUT / "model.keras"
    if path.is_file():
        return path
    keras.utils.set_random_seed(0)
    x, y = data
    epochs = 1 if QUICK else 12
    model = network(x.shape[1:])
    rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * len(x) // 128)
    model.compile(
        keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=2)
    OUT.mkdir(parents=True, exist_ok=True)
    part = path.with_stem("part")
    model.save(part)
    part.replace(path)  # whole or not at all
    return path


def main() -> None:
    (x, y), test = fashion_mnist.load()
    if QUICK:
        x, y, test = x[:720], y[:720], (test[0][:200], test[1][:200])
    held_out = len(x) // 6  # the search sees these, never the test images
    data, validation = (x[held_out:], y[held_out:]), (x[:held_out], y[:held_out])

    report = hwsearch.optimize(
        trained(data),
        hwsearch.Budget(
            flash="64 KiB", ram="24 KiB", latency="100 ms", accuracy=None if QUICK else 0.86
        ),
        data=data,
        validation_data=validation,
        test_data=test,
        board="nucleo-l4r5zi",
        objectives=("accuracy", "flash", "ram", "latency"),
        space=hwsearch.Space(epochs=1) if QUICK else "thorough",
        study="overnight",
        storage=os.environ.get("HWSEARCH_STORAGE"),
        trials=2 if QUICK else 100_000,  # the clock ends it, or that nothing better is found
        timeout=HOURS * 3600,
        trial_timeout=1800,
        patience=200,
        workers=1 if QUICK else max(1, (os.cpu_count() or 1) // 2),
        cache="4 GiB",
    )
    report.table()
    print(report.explain())
    report.plot(OUT / "front.png")
    for model in report.front:  # to choose from in the morning
        print("exported to", model.export(OUT / f"trial-{model.number}"))


if __name__ == "__main__":
    main()
