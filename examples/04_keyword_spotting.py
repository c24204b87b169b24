"""Keyword spotting: a DS-CNN on spoken words, tested on voices that it never heard.

The words are spoken by espeak-ng (see keywords.py), so nothing is downloaded.
Run: python examples/04_keyword_spotting.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import keras
import keywords

import hwsearch

QUICK = bool(os.environ.get("HWSEARCH_QUICK"))  # a test runs this file with tiny settings


def ds_cnn(classes: int, width: int = 64, blocks: int = 4) -> keras.Model:
    """The depthwise-separable network of MLPerf Tiny's keyword spotting (Zhang et al. 2017)."""
    layers = keras.layers
    stack: list[keras.Layer] = [
        keras.Input((49, 10, 1)),
        layers.Conv2D(width, (10, 4), strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
    ]
    for _ in range(blocks):
        for layer in (layers.DepthwiseConv2D(3, padding="same", use_bias=False),
                      layers.Conv2D(width, 1, use_bias=False)):  # fmt: skip
            stack += [layer, layers.BatchNormalization(), layers.ReLU()]
    stack += [layers.GlobalAveragePooling2D(), layers.Dense(classes, activation="softmax")]
    return keras.Sequential(stack, name="keywords")


def main() -> None:
    if not keywords.available():
        raise SystemExit("This example speaks with espeak-ng. Install it: apt install espeak-ng")
    keras.utils.set_random_seed(0)
    words = keywords.WORDS[:2] if QUICK else keywords.WORDS
    (x, y), test = keywords.load(words, QUICK)
    print(f"{len(x):,} clips to train on, {len(test[0]):,} of held-out voices")
    model = ds_cnn(len(words), *((8, 1) if QUICK else ()))
    model.compile(
        keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(x, y, batch_size=64, epochs=1 if QUICK else 8, verbose=2)

    report = hwsearch.optimize(
        model,
        hwsearch.Budget(flash="28 KiB", ram="8 KiB", latency="60 ms"),
        data=(x, y),
        test_data=test,
        board="arduino-nano-33-ble",
        trials=1 if QUICK else 12,
        space=hwsearch.Space(epochs=1, weight_bits=(8,), activation_bits=(8,))
        if QUICK
        else "ds_cnn",
    )
    report.table()
    print(report.explain())
    if report.chosen is not None:
        print("exported to", report.chosen.export("out/keywords"))


if __name__ == "__main__":
    main()
