"""What a loss or metric is: equal for what computes the same, in every process."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from hwsearch.identity import identity
from hwsearch.metric import metric
from hwsearch.problem import goal

TESTS = Path(__file__).parent


def focal(gamma: float, scale: float = 1.0) -> Any:
    def loss(y: Any, p: Any, power: float = scale) -> Any:
        return ((y - p) ** gamma) * power

    return loss


def outer(kind: int) -> Any:
    def one(y: Any, p: Any) -> Any:
        return [v * 2 for v in (y, p)] if kind else (lambda a: a + 1)(y)

    return one


def weighted(y: Any, p: Any, weight: float) -> Any:
    return weight * (y - p)


class Margin(keras.losses.Loss):  # type: ignore[misc]
    """A loss whose settings are in no configuration, and one nobody else's business."""

    def __init__(self, margin: float, least: float = 0.0) -> None:
        super().__init__()
        self.margin, self._least = margin, least

    def call(self, y: Any, p: Any) -> Any:
        return keras.ops.maximum(self.margin - y * p, self._least)


class Table:
    """A metric that looks things up."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.me = self

    def __call__(self, y: Any, p: Any) -> float:
        return float(self.values[y].sum())


FACTOR = 2.0


def smoothed(y: Any, p: Any) -> Any:
    return FACTOR * (y - p)


def calls(y: Any, p: Any) -> Any:
    return smoothed(y, p)


def reduced(y: Any, by: str = "sum") -> Any:
    return sum(y) if by in {"sum", "total", "whole", "all"} else y


class Holds:
    """A metric made of something else, in an attribute or a slot."""

    __slots__ = ("__dict__", "_of")

    def __init__(self, of: Any, slot: bool = False) -> None:
        if slot:
            self._of = of
        else:
            self.kept = of

    def __call__(self, y: Any, p: Any) -> Any:
        return y


class Common:
    """What its instances have in common counts."""

    scale = 2.0

    @staticmethod
    def of(value: Any) -> Any:
        return value * 2

    def __call__(self, y: Any, p: Any) -> Any:
        return self.of(y) * self.scale


class Other(Common):
    @staticmethod
    def of(value: Any) -> Any:
        return value * 3


def test_the_same_twice_is_the_same() -> None:
    for make in (
        lambda: focal(5), lambda: partial(weighted, weight=2), lambda: Margin(0.5),
        lambda: Table([1, 2]), lambda: {"a": "mse", "b": focal(1)}, lambda: [None, focal(2)],
        lambda: outer(1), lambda: keras.losses.Huber(2.0), lambda: Table([1]).__call__,
        lambda: Holds(keras.losses.Huber(2.0)), lambda: Holds(tf.constant([1.0, 2.0]), slot=True),
        lambda: keras.metrics.AUC(), lambda: Holds(keras.Sequential([keras.layers.Dense(1)])),
    ):  # fmt: skip
        assert identity(make()) == identity(make())


def test_settings_make_a_difference_wherever_they_are() -> None:
    pairs = (
        (focal(1), focal(5)), (focal(1), focal(1, scale=2.0)), (outer(0), outer(1)),
        (partial(weighted, weight=1), partial(weighted, weight=2)), (Margin(0.1), Margin(0.2)),
        (Table([1, 2]), Table([1, 3])), (keras.losses.Huber(1.0), keras.losses.Huber(2.0)),
        (metric(keras.metrics.Precision(0.1), "max").whole,
         metric(keras.metrics.Precision(0.9), "max").whole),
        (metric(keras.metrics.Precision(), "max").whole,
         metric(keras.metrics.Recall(), "max").whole),
        (Common(), Other()), (Table(["a", None]), Table(["a", "b"])),
        ({"a": "mse"}, {"a": "mae"}), (lambda y, p: y + 1, lambda y, p: y + 2),
        (lambda y: [v + 1 for v in y], lambda y: [v + 2 for v in y]), ("mse", "mae"),
        *((Holds(one, slot), Holds(other, slot)) for slot in (False, True) for one, other in (
            (Table([1]), Table([2])), (keras.losses.Huber(1.0), keras.losses.Huber(9.0)),
            (tf.constant([1.0, 2.0]), tf.constant([1.0, 3.0])), (focal(1), focal(2)),
            (Decimal("0.1"), Decimal("0.2")),
        )),
        (Margin(0.1, 0.0), Margin(0.1, 0.2)),
    )  # fmt: skip
    for one, other in pairs:
        assert identity(one) != identity(other)


def test_what_comes_with_a_library_goes_by_its_name() -> None:
    import math

    def reducing(by: Any, of: Any = math) -> Any:
        return lambda y, p: by(of.fabs(y - p))

    assert identity(reducing(np.mean)) == identity(reducing(np.mean))
    assert identity(reducing(np.mean)) != identity(reducing(np.sum))
    assert identity(reducing(keras.ops.mean)) != identity(reducing(keras.ops.sum))
    assert identity(reducing(len)) != identity(reducing(sum))
    assert identity(reducing(len, math)) != identity(reducing(len, np))
    assert identity(keras.losses.binary_crossentropy) != identity(keras.losses.poisson)


def test_globals_that_a_function_names_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(smoothed), identity(calls), identity(reduced)
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3.0)
    after = identity(smoothed), identity(calls), identity(reduced)
    assert before[0] != after[0] and before[1] != after[1] and before[2] == after[2]


def test_use_changes_nothing() -> None:
    y, p = np.eye(4, 3, dtype=np.float32), np.full((4, 3), 0.3, np.float32)
    metrics = keras.metrics
    for made in (metrics.F1Score(), metrics.R2Score(), metrics.AUC(multi_label=True),
                 metrics.MeanIoU(num_classes=3), metrics.CategoricalAccuracy()):  # fmt: skip
        before = identity(made)
        made.update_state(y, p)
        made.result()
        assert identity(made) == before, made
    cached = lru_cache(focal)
    before = identity(cached)
    cached(2.0)
    assert identity(cached) == before != identity(lru_cache(outer))
    traced = tf.function(smoothed)
    before = identity(traced)
    traced(y, p)
    assert identity(traced) == before != identity(tf.function(calls))


def test_what_is_reached_by_many_ways_is_told_once() -> None:
    deep: Any = focal(1)
    for _ in range(60):
        deep = Holds([deep, deep])
    assert identity(deep) == identity(deep)


def test_a_goal_is_the_same_for_the_next_instance() -> None:
    """Keras numbers their names: auc, auc_1, …"""
    assert len({json.dumps(goal("mse", metric(keras.metrics.AUC(), "max"))) for _ in "ab"}) == 1
    recall = metric(keras.metrics.Recall(), "max")
    assert goal("mse", recall) != goal("mse", metric(keras.metrics.Precision(), "max"))
    assert goal("mse", recall) != goal("mae", recall)


def test_libraries_objects_and_functions_are_told_by_their_settings(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "losses_of_others"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text(
        "class Focal:\n"
        "    def __init__(self, gamma): self.gamma = gamma\n"
        "    def __call__(self, y, p): return y\n"
        "def focal(gamma):\n"
        "    def loss(y, p): return gamma\n"
        "    return loss\n"
    )
    sys.path.insert(0, str(package.parent))
    try:
        others = importlib.import_module("losses_of_others")
    finally:
        sys.path.pop(0)
    for make in (others.Focal, others.focal):
        assert identity(make(1)) == identity(make(1)) != identity(make(5))


def test_a_function_that_calls_itself_ends() -> None:
    def deep(n: int) -> int:
        return deep(n - 1) if n else late

    before = identity(deep)
    late = 1
    assert identity(deep) != before
    assert identity(deep) == identity(deep)


def test_another_process_says_the_same() -> None:
    script = (
        "import json; from functools import lru_cache, partial\n"
        "from test_identity import Holds, Margin, Table, calls, focal, outer, reduced, weighted\n"
        "from hwsearch.identity import identity\n"
        "print(json.dumps(identity([focal(5), partial(weighted, weight=2), Margin(0.5), "
        "Table([1, 2]), outer(1), {'x', 'y', 'z'}, reduced, calls, Holds(Margin(1)), "
        "Holds({calls: 1}), Table(['a', None])])))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": seed,
                              "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(said) == 1 and "0x" not in said.pop()
