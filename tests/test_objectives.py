"""What a search optimises, as users write it."""

from __future__ import annotations

import numpy as np
import pytest

from hwsearch.budget import Budget
from hwsearch.cost.cost import CostColumns
from hwsearch.errors import InputError
from hwsearch.objectives import cost_values, objectives


def test_by_default_the_metric_and_what_is_limited() -> None:
    assert objectives(None, Budget()) == ("metric", "flash_bytes")
    assert objectives(None, Budget(ram=1000)) == ("metric", "ram_bytes")
    limits = Budget(ram=1000, flash=2000, latency=0.1)
    assert objectives(None, limits) == ("metric", "flash_bytes", "ram_bytes", "latency_s")


def test_energy_goes_with_latency() -> None:
    """On one board it is latency times power: a second objective of the same order."""
    both = Budget(flash=1000, ram=1000, latency=0.1, energy=1e-3)
    assert objectives(None, both) == ("metric", "flash_bytes", "ram_bytes", "latency_s")
    assert objectives(None, Budget(energy=1e-3)) == ("metric", "energy_j")


def test_any_one_to_four_in_one_order() -> None:
    limits = Budget(accuracy=0.8)
    assert objectives(["latency", "accuracy"], limits) == ("metric", "latency_s")
    assert objectives("metric", limits) == ("metric",)
    assert objectives(["energy", "ram"], limits) == ("ram_bytes", "energy_j")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["accuracy", "speed"], "has 'speed', expected some of accuracy"),
        (["accuracy", 3], "has 3, expected"),
        (["accuracy", "flash", "flash"], "has 'flash' twice"),
        (["accuracy", "metric"], "'accuracy' twice"),
        ([], "are 0, expected 1 to 4"),
        (["accuracy", "flash", "ram", "latency", "energy"], "are 5, expected 1 to 4"),
        (["flash"], "the smallest network would win"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        objectives(given, Budget())


def test_values_are_columns_in_the_order_of_the_names() -> None:
    costs = CostColumns(np.array([1, 2]), np.array([3, 4]), None, None, None)
    values = cost_values(costs, ("metric", "flash_bytes", "ram_bytes", "latency_s"))
    assert values.tolist() == [[1, 3, 0], [2, 4, 0]]
    assert cost_values(costs, ("metric",)).shape == (2, 0)
