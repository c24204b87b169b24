"""The compression benchmark's claims are what its cells say; the page has them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compression import cells, methods, results
from benchmarks.compression.__main__ import again, drawn
from benchmarks.compression.cells import Cell, Outcome
from benchmarks.compression.measure import missing


def outcome(method: str, level: float, seed: int = 0, **told: float) -> Outcome:
    """A cell of LeNet-5 whose costs are those of the original unless told."""
    figures = {"difference": 0.0, "parameters_left": 1.0, "flash_bytes": 60_000,
               "latency_s": 0.01, "energy_j": 1e-3, "train_s": 100.0} | told  # fmt: skip
    whole = Outcome(
        Cell("lenet5", method, level, seed), 0.9, 0.89, 0.91, 0.0, -0.01, 0.01, 60_000, 1.0,
        60_000, 5_000, 0.01, 1e-3, 70_000, 100.0, "", "", "",
    )  # fmt: skip
    return replace(whole, **figures)


def claimed(outcomes: list[Outcome], words: str) -> str:
    found = [r for r in results.rows(results.points(outcomes)) if words in r.claim]
    assert len(found) == 1, [r.claim for r in found]
    return found[0].measured


def test_points_are_means_over_seeds() -> None:
    found = results.points(outcome("l2", 0.5, s, difference=-0.01 * s) for s in range(3))
    assert [(p.seeds, p.difference) for p in found] == [(3, pytest.approx(-0.01))]


def test_the_smallest_inside_the_drop_is_claimed() -> None:
    whole = outcome("original", 0)
    inside = outcome("zeros", 0.8, parameters_left=0.2, difference=-0.004)
    beyond = outcome("zeros", 0.905, parameters_left=0.1, difference=-0.006)
    assert claimed([whole, inside, beyond], "parameters left").startswith("20.0%")


def test_of_equals_the_one_that_loses_least_is_claimed() -> None:
    whole = outcome("original", 0)
    even = [outcome(m, 0.7, energy_j=1e-4, parameters_left=0.2, difference=d)
            for m, d in (("l1", -0.013), ("l2-labels", -0.001), ("l2", -0.012))]  # fmt: skip
    assert claimed([whole, *even], "energy").startswith("-90% at -0.10")
    assert claimed([whole, *even], "parameters left") == "20.0% at -0.10"


def test_what_has_all_seeds_is_claimed_before_a_single_better_one() -> None:
    whole = outcome("original", 0)
    sure = [outcome("zeros", 0.9, s, parameters_left=0.09, flash_bytes=30_000) for s in range(3)]
    lucky = outcome("zeros", 0.95, parameters_left=0.05, flash_bytes=20_000)
    assert claimed([whole, *sure, lucky], "parameters left").startswith("9.0%")
    assert claimed([whole, *sure, lucky], "zeros or shared values").startswith("-50%")
    short = [replace(o, parameters_left=0.2, flash_bytes=50_000) for o in sure]  # of the goals
    assert claimed([whole, *short, lucky], "parameters left").startswith("5.0%")
    assert claimed([whole, *short, lucky], "zeros or shared values").startswith("-67%")


def test_gates_are_compared_at_equal_level() -> None:
    gates = outcome("differentiable", 0.7, difference=-0.01, train_s=50)
    other = [outcome("magnitude+tpe", level, difference=-0.02) for level in (0.5, 0.7)]
    assert claimed([gates, *other], "gates") == "+1.00 points in 0.50 × the time"


def test_the_interval_is_that_of_what_is_compared() -> None:
    gates = outcome("differentiable", 0.7, difference=-0.01, difference_low=-0.013,
                    difference_high=-0.007)  # fmt: skip
    other = outcome("magnitude+tpe", 0.7, difference=-0.02, difference_low=-0.024,
                    difference_high=-0.016)  # fmt: skip
    (row,) = results.rows(results.points([gates, other]))[-1:]
    assert row.interval == "+0.50 to +1.50" and row.reached is True
    small = outcome("zeros", 0.8, difference=-0.004, difference_low=-0.006)
    (alone,) = results.rows(results.points([small]))
    assert alone.interval == "-0.60 to +1.00" and alone.reached is False


def test_a_cell_of_other_settings_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = next(o.cell for o in cells.kept() if o.cell.method == "int4-qat")
    assert missing([kept]) == []
    monkeypatch.setitem(methods.DEPENDS, "int4-qat", (0.9,))
    assert missing([kept]) == [kept]


def test_the_page_says_where_originals_are_mixed() -> None:
    mixed = [outcome("l2", 0.7), replace(outcome("l2", 0.5), origin="other")]
    assert "versions of packages**: lenet5." in results.state(mixed)


def test_formats_are_compared_with_dense_weights_of_the_same_widths() -> None:
    cut = {"flash_bytes": 20_000, "difference": -0.01}
    found = [
        outcome("original", 0),
        outcome("l2", 0.7, **cut),
        outcome("l2+zeros", 0.7, flash_bytes=10_000, difference=-0.0105),
        outcome("zeros", 0.8, flash_bytes=10_000, latency_s=0.016),  # too slow
        outcome("zeros", 0.905, flash_bytes=6_000, difference=-0.0015),  # not equal
    ]
    assert claimed(found, "zeros or shared values").startswith("-50% at -0.05")
    (row,) = (r for r in results.rows(results.points([found[0], found[4]])) if "zeros" in r.claim)
    assert row.measured.startswith("-90% at -0.15") and row.reached is False


def test_kept_cells_lie_where_they_are_looked_for() -> None:
    paths = sorted(Path(cells.DATA).glob("*/*.json"))
    assert [o.cell.path for o in cells.kept()] == paths and paths
    assert all(cells.load(o.cell) == o for o in cells.kept())


def test_the_page_has_every_kept_cell_and_claim() -> None:
    outcomes = list(cells.kept())
    found = results.points(outcomes)
    page = results.PAGE.read_text()
    assert results.state(outcomes) in page
    assert results.table(found) in page
    for row in results.rows(found):
        assert f"| {row.claim} | {row.goal} | {row.measured} |" in page


def test_the_page_says_what_was_not_measured() -> None:
    said = results.state([outcome("l2", 0.7), outcome("l2", 0.7, seed=1)])
    assert said.startswith("1 of ") and ", 1 with others" in said
    left = said.partition("Not measured yet")[2].partition("lenet5: ")[2].partition("\n")[0]
    assert "l2 (0.5 0.85)" in left


def test_what_is_measured_again_takes_no_longer_than_it_may() -> None:
    found = [outcome("original", 0, train_s=0.0)]
    for task, times in {"lenet5": (100, 600), "resnet8": (500, 2000), "vgg": (700, 1200)}.items():
        for seed, time in enumerate(times):
            cell = Cell(task, "l2", 0.5, seed)
            found.append(replace(outcome("l2", 0.5, train_s=time), cell=cell))
    seen = [tuple(o.train_s for o in drawn(found, cores=2)) for _ in range(50)]
    assert set(seen) == {(700, 500, 100), (700, 600, 500)}
    assert [o.train_s for o in drawn(found, cores=1)] == [700, 500, 100]  # the least there is


def test_nothing_kept_is_nothing_to_measure_again() -> None:
    assert again([Cell("lenet5", "l2", 0.123, 0)]) == 0
