"""Two models side by side, and the gates of a CI."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwsearch.comparison import Side, compare
from hwsearch.errors import InputError

A = Side("a", 1000, 200, 0.01, None, "image", "accuracy", 0.9, "max")
B = Side("b", 1030, 100, 0.01, None, "image", "accuracy", 0.88, "max")


def test_growth_is_from_the_first_to_the_second() -> None:
    found = compare(A, B, {})
    assert found.growth == pytest.approx(
        {"flash_bytes": 0.03, "ram_bytes": -0.5, "latency_s": 0.0}
    )
    assert found.metric_drop == pytest.approx(0.02) and found.exceeded == ()


@pytest.mark.parametrize(
    ("allowed", "drop", "said"),
    [
        ({"flash_bytes": 0.02}, None, "flash grew by 3.0%, allowed are 2.0%"),
        ({"flash_bytes": 0.031, "ram_bytes": 0.0}, None, ""),
        ({"ram_bytes": -0.6}, None, "RAM grew by -50.0%"),
        ({}, 0.01, "accuracy got worse by 0.02, allowed are 0.01"),
        ({}, 0.03, ""),
    ],
)
def test_gates(allowed: dict[str, float], drop: float | None, said: str) -> None:
    found = compare(A, B, allowed, drop)
    assert bool(found.exceeded) == bool(said)
    assert said in " ".join(found.exceeded)


def test_a_metric_that_is_minimised_drops_when_it_rises() -> None:
    a, b = (replace(side, metric="loss", mode="min") for side in (A, B))
    assert compare(a, b, {}).metric_drop == pytest.approx(-0.02)
    assert compare(b, a, {}, 0.01).exceeded


def test_what_is_not_known_cannot_be_gated() -> None:
    with pytest.raises(InputError, match="energy of a is not known"):
        compare(A, B, {"energy_j": 0.1})
    with pytest.raises(InputError, match="two searches that scored the same metric"):
        compare(A, replace(B, metric="loss"), {}, 0.1)
