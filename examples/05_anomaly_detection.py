"""Anomaly detection: an autoencoder that knows only healthy motors, judged by AUC.

The vibration of the motors is made here: harmonics of the shaft, and for the sick ones a bearing
that ticks, a bent shaft or a loose foot.
Run: python examples/05_anomaly_detection.py
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from numpy.typing import NDArray

import hwsearch
from hwsearch.metric import auc

QUICK = bool(os.environ.get("HWSEARCH_QUICK"))  # a test runs this file with tiny settings
RATE, BANDS = 8_000, 128
Floats = NDArray[np.float32]


def spectra(n: int, sick: bool, seed: int) -> Floats:
    """float32 [n, 128], about 0 … 1: log power in bands, of quarter seconds of vibration."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 4) / RATE
    shaft = rng.uniform(22, 28, (n, 1))  # revolutions a second
    waves = sum(
        rng.uniform(0.5, 1, (n, 1))
        / k
        * np.sin(2 * np.pi * (k * shaft * time + rng.random((n, 1))))
        for k in range(1, 9)
    )
    if sick:
        fault = rng.integers(0, 3, (n, 1))
        ticks = (np.mod(time * shaft * 3.6, 1) < 0.02) * rng.normal(0, 1, (n, time.size))
        bent = np.sin(2 * np.pi * 2 * shaft * time)
        loose = np.clip(waves, -0.8, 0.8) - waves
        waves = waves + np.choose(fault, [0.6 * ticks, 0.5 * bent, 0.7 * loose])
    waves = waves + rng.normal(0, 0.1, (n, time.size))
    power = np.abs(np.fft.rfft(waves * np.hanning(time.size)))[:, 1 : 4 * BANDS + 1] ** 2
    bands = np.log10(power.reshape(n, BANDS, 4).mean(axis=2) + 1e-3)
    return ((bands + 3) / 9).astype(np.float32)


def labelled(n: int, seed: int) -> tuple[Floats, Floats]:
    """Healthy and sick inputs; targets of the sick are negated: the mark that the metric reads.

    An autoencoder is trained on ``(x, x)``; how well it tells the sick apart needs labels as well.
    """
    healthy, sick = spectra(n, False, seed), spectra(n, True, seed + 1)
    return np.concatenate([healthy, sick]), np.concatenate([healthy, -sick - 1])


def detection(targets: Floats, outputs: Floats) -> float:
    """AUC of the reconstruction error as a test of sickness."""
    is_sick = targets.max(axis=1) < 0
    x = np.where(is_sick[:, None], -targets - 1, targets)
    return auc(is_sick, ((x - outputs) ** 2).mean(axis=1, keepdims=True))


def autoencoder() -> keras.Model:
    """Dense layers with batch normalization through a neck of 8, half as wide as MLPerf Tiny's."""
    layers = keras.layers
    stack: list[keras.Layer] = [keras.Input((BANDS,))]
    for width in (64, 64, 8, 64, 64):
        stack += [
            layers.Dense(width, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
        ]
    return keras.Sequential([*stack, layers.Dense(BANDS)], name="anomaly")


def main() -> None:
    keras.utils.set_random_seed(0)
    x = spectra(600 if QUICK else 8_000, False, 1)
    model = autoencoder()
    epochs = 2 if QUICK else 20
    rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * -(-len(x) // 128))
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    model.fit(x, x, batch_size=128, epochs=epochs, verbose=2)

    report = hwsearch.optimize(
        model,
        hwsearch.Budget(flash="16 KiB", ram="4 KiB"),
        data=(x, x),
        validation_data=labelled(100 if QUICK else 1_000, 10),
        test_data=labelled(100 if QUICK else 1_000, 20),
        board="nucleo-g0b1re",
        metric=detection,
        mode="max",
        trials=1 if QUICK else 12,
        space=hwsearch.Space(epochs=1) if QUICK else "mlp",
    )
    report.table()
    print(report.explain())
    if report.chosen is not None:
        print("exported to", report.chosen.export("out/anomaly"))


if __name__ == "__main__":
    main()
