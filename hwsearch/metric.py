"""Metric: how good a deployed artefact is, with a 95 % interval and a paired difference."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwsearch.candidate import Score
from hwsearch.data import Array
from hwsearch.errors import DataError, UnknownNameError

Mode = Literal["max", "min"]
Floats = NDArray[np.float64]

Z = 1.959964
"""Two-sided 95 % point of the normal distribution."""

RESAMPLES = 200
"""Bootstrap resamples for a metric that is not a mean over samples (Efron and Tibshirani 1993)."""


def accuracy(targets: Array, outputs: Array) -> Floats:
    """float64 [n]: 1 where the class is right; targets are indexes, one-hot, or 0/1."""
    if outputs.shape[-1] == 1:
        return binary_accuracy(targets, outputs)
    classes = targets
    if targets.ndim == outputs.ndim and targets.shape[-1] == outputs.shape[-1]:
        classes = targets.argmax(axis=-1)
    right = outputs.argmax(axis=-1) == classes.reshape(outputs.shape[:-1])
    return right.reshape(len(outputs), -1).mean(axis=1)


def binary_accuracy(targets: Array, outputs: Array) -> Floats:
    """float64 [n]: share of a sample's outputs on the right side of 0.5; targets are 0 or 1."""
    right = (outputs > 0.5) == (targets.reshape(outputs.shape) > 0.5)
    return right.reshape(len(outputs), -1).mean(axis=1)


def mse(targets: Array, outputs: Array) -> Floats:
    """float64 [n]: mean squared error of each sample."""
    difference = outputs.astype(np.float64) - targets.reshape(outputs.shape)
    return (difference**2).reshape(len(outputs), -1).mean(axis=1)


def mae(targets: Array, outputs: Array) -> Floats:
    """float64 [n]: mean absolute error of each sample."""
    difference = outputs.astype(np.float64) - targets.reshape(outputs.shape)
    return np.abs(difference).reshape(len(outputs), -1).mean(axis=1)


def auc(targets: Array, outputs: Array) -> float:
    """Area under the ROC curve of one output, by ranks (Mann-Whitney), ties counted half."""
    from scipy.stats import rankdata

    labels = targets.reshape(-1) > 0.5
    scores = outputs.reshape(len(outputs), -1)[:, -1]
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        raise DataError("auc needs samples of both classes; the targets hold one alone.")
    ranks = rankdata(scores)[labels].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def agreement(targets: Array, outputs: Array) -> Floats:
    """float64 [n]: how far outputs agree with the original model's, given as targets.

    Same class where the original's outputs are a distribution over classes, else
    1 - |difference|² / variance of the original's outputs, at least 0.
    """
    total = targets.sum(axis=-1)
    if targets.shape[-1] > 1 and np.allclose(total, 1, atol=0.05) and targets.min() >= -1e-3:
        return accuracy(targets, outputs)
    return np.clip(1 - mse(targets, outputs) / max(float(targets.var()), 1e-12), 0, 1)


PER_SAMPLE: dict[str, tuple[Callable[[Array, Array], Floats], Mode]] = {
    "accuracy": (accuracy, "max"),
    "binary_accuracy": (binary_accuracy, "max"),
    "mse": (mse, "min"),
    "mae": (mae, "min"),
    "agreement": (agreement, "max"),
}
"""Metrics that are a mean over samples, and their direction."""

SHARES = (accuracy, agreement)
"""Those of them that lie between 0 and 1."""

ALIASES = {
    "acc": "accuracy", "sparse_categorical_accuracy": "accuracy",
    "categorical_accuracy": "accuracy", "SparseCategoricalAccuracy": "accuracy",
    "CategoricalAccuracy": "accuracy", "BinaryAccuracy": "binary_accuracy",
    "MeanSquaredError": "mse", "MeanAbsoluteError": "mae",
    "mean_squared_error": "mse", "mean_absolute_error": "mae", "AUC": "auc",
}  # fmt: skip

OF_LOSS = {
    "sparse_categorical_crossentropy": "accuracy", "categorical_crossentropy": "accuracy",
    "binary_crossentropy": "binary_accuracy", "binary_focal_crossentropy": "binary_accuracy",
    "categorical_focal_crossentropy": "accuracy", "categorical_hinge": "accuracy", "mse": "mse",
    "mae": "mae", "huber": "mae", "log_cosh": "mae",
}  # fmt: skip
"""The metric that a loss stands for where the model was compiled with none."""


@dataclass(frozen=True)
class Metric:
    """A measure of a model's outputs against targets.

    Attributes:
        name: as shown.
        mode: ``"max"`` or ``"min"``.
        per_sample: float64 [n] a sample, where the metric is their mean; else None.
        whole: the metric of all samples at once, where it is no mean.
        output: which of the model's outputs it looks at.
    """

    name: str
    mode: Mode
    per_sample: Callable[[Array, Array], Floats] | None = None
    whole: Callable[[Array, Array], float] | None = None
    output: int = 0

    def score(self, targets: Sequence[Array], outputs: Sequence[Array], oracle: str) -> Score:
        """The metric with its 95 % interval.

        Wilson's interval for shares, the normal one for other means, the bootstrap for the rest.
        """
        y, p = np.asarray(targets[self.output]), np.asarray(outputs[self.output])
        if self.per_sample is None:
            value, draws = self._bootstrap(y, p, None)
            low, high = np.quantile(draws, [0.025, 0.975])
            return Score(value, float(low), float(high), len(p), oracle)
        values = self.per_sample(y, p)
        value, n = float(values.mean()), len(values)
        if self.per_sample in SHARES and set(np.unique(values)) <= {0.0, 1.0}:
            low, high = wilson(value, n)
        else:
            half = Z * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
            low, high = value - half, value + half
            if self.per_sample in SHARES:
                low, high = max(0.0, low), min(1.0, high)
        return Score(value, low, high, n, oracle)

    def difference(
        self,
        targets: Sequence[Array],
        outputs: Sequence[Array],
        original: Sequence[Array],
        oracle: str,
    ) -> Score:
        """This minus the original, paired over the same samples, with its 95 % interval."""
        y = np.asarray(targets[self.output])
        p, o = np.asarray(outputs[self.output]), np.asarray(original[self.output])
        if self.per_sample is None:
            value, draws = self._bootstrap(y, p, o)
            low, high = np.quantile(draws, [0.025, 0.975])
            return Score(value, float(low), float(high), len(p), oracle)
        values = self.per_sample(y, p) - self.per_sample(y, o)
        half = (
            Z * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
        )
        value = float(values.mean())
        return Score(value, value - half, value + half, len(values), oracle)

    def _bootstrap(self, y: Array, p: Array, o: Array | None) -> tuple[float, Floats]:
        assert self.whole is not None
        whole = self.whole

        def of(rows: Any) -> float:
            value = float(whole(y[rows], p[rows]))
            return value if o is None else value - float(whole(y[rows], o[rows]))

        value = of(slice(None))
        rng = np.random.default_rng(0)
        draws: list[float] = []
        for _ in range(10 * RESAMPLES):
            if len(draws) == RESAMPLES:
                break
            # A resample of few positives may hold one class alone: drawn again.
            with contextlib.suppress(DataError):
                draws.append(of(rng.integers(0, len(p), len(p))))
        return value, np.array(draws or [-math.inf, math.inf])


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share seen in n samples (Wilson 1927)."""
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def metric(given: object, mode: Mode | None) -> Metric:
    """The Metric that a user names.

    Args:
        given: a name, a function of (targets, outputs) giving a float, or a Keras metric.
        mode: ``"max"`` or ``"min"``; needed where the name does not tell.

    Raises:
        UnknownNameError: the name is unknown.
        DataError: a function or Keras metric without ``mode``.
    """
    if mode not in (None, "max", "min"):
        raise DataError(f'mode={mode!r} is unknown, expected "max" or "min".')
    if isinstance(given, str):
        name = ALIASES.get(given, given)
        if name in PER_SAMPLE:
            per_sample, direction = PER_SAMPLE[name]
            return Metric(name, mode or direction, per_sample=per_sample)
        if name == "auc":
            return Metric(name, mode or "max", whole=auc)
        raise UnknownNameError("metric", given, [*PER_SAMPLE, "auc", *ALIASES])
    name = str(getattr(given, "name", None) or getattr(given, "__name__", type(given).__name__))
    if mode is None:
        raise DataError(
            f'metric {name!r} does not say which way is better. Give mode="max" or mode="min".'
        )
    if hasattr(given, "update_state"):
        return Metric(name, mode, whole=_keras(given))
    if not callable(given):
        raise DataError(
            f"metric {given!r} is neither a name nor a function of (targets, outputs)."
        )
    return Metric(name, mode, whole=given)


_KERAS_STATE = threading.Lock()
"""A Keras metric accumulates in itself: one caller at a time."""


def _keras(given: Any) -> Callable[[Array, Array], float]:
    def whole(targets: Array, outputs: Array) -> float:
        with _KERAS_STATE:
            given.reset_state()
            given.update_state(targets, outputs)
            return float(given.result())

    return whole
