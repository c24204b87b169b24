"""Metrics against scikit-learn and by hand; intervals by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsearch.errors import DataError, UnknownNameError
from hwsearch.metric import Metric, accuracy, agreement, auc, metric, wilson


def test_accuracy_of_classes_one_hot_and_binary() -> None:
    outputs = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]], np.float32)
    assert accuracy(np.array([0, 2, 0]), outputs).tolist() == [1, 1, 0]
    assert accuracy(np.array([[0], [2], [0]]), outputs).tolist() == [1, 1, 0]
    assert accuracy(np.eye(3)[[0, 2, 0]], outputs).tolist() == [1, 1, 0]
    sigmoid = np.array([[0.9], [0.2], [0.6]])
    assert accuracy(np.array([1, 0, 0]), sigmoid).tolist() == [1, 1, 0]
    assert accuracy(np.array([[1], [0], [0]]), sigmoid).tolist() == [1, 1, 0]


def test_accuracy_of_every_pixel() -> None:
    rng = np.random.default_rng(0)
    outputs, targets = rng.random((5, 4, 4, 3)), rng.integers(0, 3, (5, 4, 4))
    expected = (outputs.argmax(-1) == targets).mean(axis=(1, 2))
    assert accuracy(targets, outputs) == pytest.approx(expected)
    assert accuracy(targets[..., None], outputs) == pytest.approx(expected)
    assert accuracy(np.eye(3)[targets], outputs) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_errors_are_those_of_scikit_learn(name: str) -> None:
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(50, 6)).astype(np.float32)
    expected = {"mse": mean_squared_error, "mae": mean_absolute_error}[name](y, p)
    score = metric(name, None).score([y], [p], "test")
    assert score.value == pytest.approx(expected)
    assert score.low < score.value < score.high and score.samples == 50
    flat = metric(name, None).score([y[:, 0]], [p[:, :1]], "test")  # [n] against [n, 1]
    assert flat.value == pytest.approx(
        {"mse": mean_squared_error, "mae": mean_absolute_error}[name](y[:, 0], p[:, 0])
    )


@given(st.integers(0, 1000), st.integers(2, 60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_auc_is_that_of_scikit_learn(seed: int, n: int, ties: bool) -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, n), [0, 1])
    scores = rng.normal(size=n + 2)
    scores = np.round(scores) if ties else scores
    assert auc(labels, scores[:, None]) == pytest.approx(roc_auc_score(labels, scores))


def test_auc_needs_both_classes() -> None:
    with pytest.raises(DataError, match="both classes"):
        auc(np.ones(4), np.zeros((4, 1)))


def test_auc_has_a_score_even_where_few_are_positive() -> None:
    """A resample of few positives may hold one class alone: it is drawn again."""
    rng = np.random.default_rng(0)
    labels = np.zeros(40)
    labels[:2] = 1
    scores = labels + rng.normal(0, 1, 40)
    score = metric("auc", None).score([labels], [scores[:, None]], "test")
    assert 0 <= score.low <= score.value <= score.high <= 1


def test_agreement() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(30, 4))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert agreement(shares, shares).mean() == 1
    assert agreement(shares, shares[:, ::-1]).mean() < 0.9
    values = rng.normal(size=(30, 4))
    assert agreement(values, values).mean() == 1
    assert agreement(values, values + 10).mean() == 0
    near = agreement(values, values + 0.1).mean()
    assert 0.9 < near < 1


# Intervals


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [100, 2000])
def test_interval_of_a_share_covers_it_95_times_of_100(share: float, n: int) -> None:
    rng = np.random.default_rng(0)
    found = rng.binomial(n, share, 4000) / n
    held = [low <= share <= high for low, high in (wilson(float(f), n) for f in found)]
    assert 0.90 <= np.mean(held) <= 0.99  # it wavers about 95 % (Brown et al. 2001)


@pytest.mark.parametrize("n", [1, 10])
@pytest.mark.parametrize("right", [0.0, 1.0])
def test_interval_of_none_or_all_right_is_not_empty(right: float, n: int) -> None:
    low, high = wilson(right, n)
    assert 0 <= low <= right <= high <= 1 and high - low > 0.1


def _coverage(draw, truth: float, repeats: int) -> float:
    held = [score.low <= truth <= score.high for score in (draw(k) for k in range(repeats))]
    return float(np.mean(held))


def test_interval_of_a_mean_covers_it() -> None:
    def draw(seed: int):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(200, 3))
        return metric("mse", None).score([y], [y + rng.normal(0, 0.5, y.shape)], "test")

    assert 0.91 <= _coverage(draw, 0.25, 500) <= 0.98


def test_interval_of_an_auc_covers_it() -> None:
    def draw(seed: int):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 150)
        scores = (labels + rng.normal(size=150))[:, None]
        return metric("auc", None).score([labels], [scores], "test")

    # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    assert 0.88 <= _coverage(draw, 0.7602499, 120) <= 1.0


@pytest.mark.parametrize("name", ["accuracy", "mse", "auc"])
def test_paired_difference_is_narrower_and_covers(name: str) -> None:
    """Two models that err on mostly the same samples: the pair tells them apart, scores do not."""
    chosen = metric(name, None)

    def draw(seed: int):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, 300)
        shared = y + rng.normal(0, 0.8, 300)
        models = [(shared + rng.normal(0, s, 300))[:, None] for s in (0.2, 0.1)]
        return chosen.difference([y], [models[0]], [models[1]], "test")

    rng = np.random.default_rng(99)
    y = rng.integers(0, 2, 1_000_000)
    shared = y + rng.normal(0, 0.8, len(y))
    worse, better = ((shared + rng.normal(0, s, len(y)))[:, None] for s in (0.2, 0.1))
    if name == "auc":
        truth = auc(y, worse) - auc(y, better)
    else:
        truth = float((chosen.per_sample(y, worse) - chosen.per_sample(y, better)).mean())
    repeats = 60 if name == "auc" else 400
    assert 0.88 <= _coverage(draw, truth, repeats) <= 1.0
    one = draw(0)
    half = y[:300], worse[:300]
    alone = chosen.score([half[0]], [half[1]], "test")
    assert one.high - one.low < alone.high - alone.low


def test_difference_of_a_model_to_itself_is_nothing() -> None:
    y, p = np.arange(20) % 2, np.random.default_rng(0).random((20, 1))
    for name in ("accuracy", "mse", "auc"):
        found = metric(name, None).difference([y], [p], [p], "test")
        assert (found.value, found.low, found.high) == (0, 0, 0)


def test_one_sample_knows_nothing() -> None:
    score = metric("mse", None).score([np.zeros((1, 2))], [np.ones((1, 2))], "test")
    assert score.value == 1 and score.high == np.inf


def test_the_output_that_is_scored() -> None:
    chosen = Metric("mse", "min", per_sample=metric("mse", None).per_sample, output=1)
    y = [np.zeros((4, 2)), np.zeros((4, 3))]
    assert chosen.score(y, [np.ones((4, 2)), np.zeros((4, 3))], "test").value == 0


# Names


@pytest.mark.parametrize(
    ("given", "name", "mode"),
    [
        ("accuracy", "accuracy", "max"), ("acc", "accuracy", "max"), ("AUC", "auc", "max"),
        ("mean_squared_error", "mse", "min"), ("mae", "mae", "min"),
        ("agreement", "agreement", "max"),
    ],
)  # fmt: skip
def test_names(given: str, name: str, mode: str) -> None:
    found = metric(given, None)
    assert (found.name, found.mode) == (name, mode)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown metric 'f1'. Known: .*accuracy.*auc"):
        metric("f1", None)


def test_functions_and_keras_metrics() -> None:
    import keras

    def worst(targets, outputs):
        return float(np.abs(targets - outputs[:, 0]).max())

    y, p = np.arange(10.0), np.arange(10.0)[:, None] + 0.5
    with pytest.raises(DataError, match='"max" or mode="min"'):
        metric(worst, None)
    score = metric(worst, "min").score([y], [p], "test")
    assert (score.value, score.low, score.high) == (0.5, 0.5, 0.5)
    assert metric(worst, "min").name == "worst"
    top = metric(keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2"), "max")
    shares = np.array([[0.5, 0.3, 0.2]] * 4, np.float32)
    assert top.name == "top2"
    assert top.score([np.array([0, 1, 2, 2])], [shares], "test").value == pytest.approx(0.5)
    with pytest.raises(DataError, match="neither a name nor a function"):
        metric(3, "max")
