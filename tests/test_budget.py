"""Budget: units, what cannot be meant, and by how much a cost exceeds a limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsearch.board import Board, boards
from hwsearch.budget import UNITS, Budget, shown
from hwsearch.cost.cost import Band, Cost, CostColumns
from hwsearch.errors import BudgetError

BOARD = Board("board", "M4", 80e6, 1 << 20, 128 << 10, 0.05)
COST = Cost(100_000, 20_000, 0.1, 1e-3, 1, bands={"latency_s": Band(-0.2, 0.3, "test")})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("flash", "192 KiB", 196_608), ("flash", "192KiB", 196_608),
        ("flash", " 1.5 MB ", 1_500_000), ("flash", "2 MiB", 2_097_152), ("ram", "24 KB", 24_000),
        ("ram", "512", 512),
        ("ram", "1_024 B", 1024), ("ram", "1e3", 1000), ("ram", 4096, 4096),
        ("ram", np.int64(4096), 4096), ("latency", "150 ms", 0.15), ("latency", "80 us", 8e-5),
        ("latency", "80 µs", 8e-5), ("latency", ".5 s", 0.5), ("latency", 0.15, 0.15),
        ("energy", "2 mJ", 2e-3), ("energy", "15 µJ", 1.5e-5), ("energy", np.float32(2), 2.0),
    ],
)  # fmt: skip
def test_units(name: str, text: object, value: float) -> None:
    limit = getattr(Budget(**{name: text}), name)
    assert limit == pytest.approx(value, rel=1e-6)
    assert isinstance(limit, int if name in ("flash", "ram") else float)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flash", "192 kib"), ("flash", "192 ms"), ("flash", "many"), ("flash", ""),
        ("flash", "-1 KiB"), ("flash", "0"), ("flash", -1), ("flash", math.nan),
        ("flash", math.inf), ("ram", "1 2"), ("ram", True), ("ram", [1]), ("ram", "0.4 B"),
        ("latency", "5 KiB"), ("latency", "1,5 ms"), ("energy", "2 W"), ("energy", 0),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(name: str, text: object) -> None:
    with pytest.raises(BudgetError, match=rf"{name}="):
        Budget(**{name: text})


def test_an_unknown_unit_lists_the_known() -> None:
    with pytest.raises(BudgetError, match=r"flash='3 kB'.*KB, KiB, MB, MiB.*e\.g\. \"192 KiB\""):
        Budget(flash="3 kB")


def test_accuracy_and_strictness() -> None:
    with pytest.raises(BudgetError, match="accuracy=nan"):
        Budget(accuracy=math.nan)
    with pytest.raises(BudgetError, match='expected "likely" or "sure"'):
        Budget(strictness="certain")  # type: ignore[arg-type]


@given(st.sampled_from(sorted(UNITS)), st.data())
def test_what_is_shown_can_be_read_back(name: str, data) -> None:
    value = data.draw(
        st.floats(1e-8, 1e3) if name in ("latency", "energy") else st.integers(1, 1 << 30)
    )
    text = shown(name, value).replace(",", "")
    assert getattr(Budget(**{name: text}), name) == pytest.approx(value, rel=0.06)


# On a board


def test_what_is_left_out_is_the_boards_own() -> None:
    budget = Budget(ram="24 KiB").on(BOARD)
    assert budget.limits == {"flash_bytes": 1 << 20, "ram_bytes": 24 << 10}


def test_more_than_the_board_has() -> None:
    with pytest.raises(BudgetError, match=r"ram=262,144 B is more than the 131,072 B of board"):
        Budget(ram="256 KiB").on(BOARD)
    assert Budget(ram="128 KiB").on(BOARD).ram == 128 << 10


def test_limits_that_a_board_cannot_judge_list_those_that_can() -> None:
    generic = Board("generic", "M4", None, None, None, None)
    with pytest.raises(BudgetError, match=r"latency limit needs.*nucleo-l4r5zi"):
        Budget(latency="1 s").on(generic)
    with pytest.raises(BudgetError, match="energy limit needs a board whose power") as raised:
        Budget(energy="1 mJ").on(generic)
    listed = str(raised.value).split("Boards: ")[1].split(", ")
    assert listed and all(boards()[name].power_w is not None for name in listed)


# Excess


def test_excess_is_use_over_limit_minus_one() -> None:
    budget = Budget(flash=50_000, ram=40_000, latency=0.1)
    assert budget.excess(COST) == pytest.approx(
        {"flash_bytes": 1.0, "ram_bytes": -0.5, "latency_s": 0.0}
    )


def test_sure_judges_the_dearer_edge_of_the_band() -> None:
    budget = Budget(latency=0.125, strictness="sure")
    assert budget.excess(COST)["latency_s"] == pytest.approx(0.1 * 1.3 / 0.125 - 1)
    assert Budget(latency=0.125).excess(COST)["latency_s"] < 0


def test_unknown_costs_count_as_inside() -> None:
    unknown = Cost(1000, 1000, None, None, 0)
    assert Budget(latency=0.1).excess(unknown) == {"latency_s": -1.0}


def test_fits() -> None:
    assert Budget(latency=0.2).fits(COST) == "sure"
    assert Budget(latency=0.11).fits(COST) == "likely"
    assert Budget(latency=0.09).fits(COST) == "no"
    assert Budget(latency=0.2, flash=1000).fits(COST) == "no"
    assert Budget().fits(COST) == "sure"


def test_columns_exceed_as_their_members_do() -> None:
    rng = np.random.default_rng(0)
    flash, ram = rng.integers(1, 1 << 20, 20), rng.integers(1, 1 << 17, 20)
    latency = rng.uniform(0.01, 1, 20)
    columns = CostColumns(flash, ram, latency, None, None, COST.bands)
    for strictness in ("likely", "sure"):
        budget = Budget(
            flash="300 KiB", ram="64 KiB", latency=0.3, energy=1e-3, strictness=strictness
        )
        found = budget.excesses(columns)
        assert found.shape == (20, 4)
        for i in range(20):
            one = Cost(int(flash[i]), int(ram[i]), float(latency[i]), None, 0, bands=COST.bands)
            assert found[i] == pytest.approx(list(budget.excess(one).values()))
    assert Budget().excesses(columns).shape == (20, 0)


def test_as_text() -> None:
    assert str(Budget(flash="192 KiB", latency="150 ms", accuracy=0.9)) == (
        "flash ≤ 192.0 KiB, latency ≤ 150 ms, metric at least 0.9"
    )
    assert str(Budget()) == "no limits"
