"""What a loss or metric is: equal for what computes the same, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hwsearch.identity import identity

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
    """A loss whose setting is in no configuration."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def call(self, y: Any, p: Any) -> Any:
        return keras.ops.maximum(self.margin - y * p, 0)


class Table:
    """A metric that looks things up."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.me = self

    def __call__(self, y: Any, p: Any) -> float:
        return float(self.values[y].sum())


def test_the_same_twice_is_the_same() -> None:
    for make in (
        lambda: focal(5), lambda: partial(weighted, weight=2), lambda: Margin(0.5),
        lambda: Table([1, 2]), lambda: {"a": "mse", "b": focal(1)}, lambda: [None, focal(2)],
        lambda: outer(1), lambda: keras.losses.Huber(2.0), lambda: Table([1]).__call__,
    ):  # fmt: skip
        assert identity(make()) == identity(make())


def test_settings_make_a_difference_wherever_they_are() -> None:
    pairs = (
        (focal(1), focal(5)), (focal(1), focal(1, scale=2.0)), (outer(0), outer(1)),
        (partial(weighted, weight=1), partial(weighted, weight=2)), (Margin(0.1), Margin(0.2)),
        (Table([1, 2]), Table([1, 3])), (keras.losses.Huber(1.0), keras.losses.Huber(2.0)),
        ({"a": "mse"}, {"a": "mae"}), (lambda y, p: y + 1, lambda y, p: y + 2),
        (lambda y: [v + 1 for v in y], lambda y: [v + 2 for v in y]), ("mse", "mae"),
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


def test_a_function_that_calls_itself_ends() -> None:
    def deep(n: int) -> int:
        return deep(n - 1) if n else late

    before = identity(deep)
    late = 1
    assert identity(deep) != before
    assert identity(deep) == identity(deep)


def test_another_process_says_the_same() -> None:
    script = (
        "import json; from functools import partial\n"
        "from test_identity import Margin, Table, focal, outer, weighted\n"
        "from hwsearch.identity import identity\n"
        "print(json.dumps(identity([focal(5), partial(weighted, weight=2), Margin(0.5), "
        "Table([1, 2]), outer(1), {'x'}])))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": seed,
                              "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1 and "0x" not in said.pop()
