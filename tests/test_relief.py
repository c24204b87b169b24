"""What more room would buy, against every configuration of a small space."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import factories
import numpy as np
import pytest
from search.tasks import pricing

from hwsearch.board import boards
from hwsearch.budget import Budget
from hwsearch.candidate import BoardFit, Candidate, NearestMiss, Score, Trained
from hwsearch.pricing import Pricing
from hwsearch.relief import reliefs, smallest_board
from hwsearch.report import Report
from hwsearch.space import Space


@pytest.fixture(scope="module")
def priced() -> Pricing:
    return pricing(Space(activation_bits=(8,)))


def whole(priced: Pricing) -> np.ndarray:
    ranks = priced.ranks
    rows = itertools.product(*(range(p.choices) for p in ranks.parameters))
    return np.array(list(rows))


def test_a_tenth_more_of_the_right_limit_lets_models_in(priced: Pricing) -> None:
    costs = priced.price(priced.ranks.decode(whole(priced)))
    least = int(costs.flash_bytes.min())
    budget = Budget(flash=int(least / 1.05), ram=64_000)
    flash, ram = reliefs(priced, budget, 0, (), "max")
    assert (flash.limit, ram.limit) == ("flash_bytes", "ram_bytes")
    assert flash.value == pytest.approx(1.1 * int(least / 1.05))
    assert flash.candidate is not None and flash.metric is None
    inside = costs.flash_bytes[costs.flash_bytes <= flash.value]
    assert flash.candidate.cost.flash_bytes == inside.max()  # the largest that fits then
    assert ram.candidate is None  # more RAM does not help
    assert ram.excess == pytest.approx(least / int(least / 1.05) - 1, abs=1e-6)


def test_the_metric_that_room_would_buy_is_guessed_from_what_was_scored(priced: Pricing) -> None:
    ranks = priced.ranks
    rows = whole(priced)
    costs = priced.price(ranks.decode(rows))
    budget = Budget(flash=int(np.quantile(costs.flash_bytes, 0.3)))
    inside = rows[costs.flash_bytes <= budget.limits["flash_bytes"]]
    scored = []
    for i, row in enumerate(inside[:: max(1, len(inside) // 20)]):
        made = ranks.configuration(row)
        value = 0.9 + 0.05 * float(np.log2(made.widths[0] / 32))
        found = Score(value, value, value, 9, "Keras")
        candidate = Candidate(i, made, priced.cost(made))
        scored.append(Trained(candidate, Path("x"), found, (), 0.0))
    (relief,) = reliefs(priced, budget, 0, scored, "max")
    roomier = ranks.decode(rows[costs.flash_bytes <= relief.value])
    best = 0.9 + 0.05 * float(np.log2(roomier.widths.max() / 32))
    assert relief.metric == pytest.approx(best, abs=0.03)


def test_the_smallest_board_is_the_first_that_fits(priced: Pricing) -> None:
    chosen = priced.ranks.configuration([0] * len(priced.ranks.parameters))
    fit = smallest_board(priced, Budget(), chosen, 0)
    assert isinstance(fit, BoardFit)
    known = [b for b in boards().values() if b.ram_bytes and b.flash_bytes]
    there = {b.name: replace(priced, board=b).cost(chosen) for b in known}
    fitting = [
        b
        for b in known
        if there[b.name].ram_bytes <= b.ram_bytes and there[b.name].flash_bytes <= b.flash_bytes
    ]
    assert fit.board.ram_bytes == min(b.ram_bytes for b in fitting)
    assert fit.candidate.cost == there[fit.board.name]
    # A latency that only fast cores reach leaves out the small ones.
    slow = there[fit.board.name].latency_s
    assert slow is not None
    faster = smallest_board(priced, Budget(latency=slow / 2), chosen, 0)
    assert faster is None or faster.candidate.cost.latency_s <= slow / 2
    assert smallest_board(priced, Budget(latency="1 ns"), chosen, 0) is None


def test_without_a_chosen_model_some_configuration_fits(priced: Pricing) -> None:
    fit = smallest_board(priced, Budget(flash=1), None, 0)  # the board's own limits count
    assert fit is not None
    assert fit.candidate.cost.flash_bytes <= fit.board.flash_bytes


def test_the_report_tells_of_room_and_board(priced: Pricing, tmp_path: Path) -> None:
    budget = Budget(flash=20_000, ram=64_000)
    miss = replace(factories.miss(), reliefs=reliefs(priced, budget, 0, (), "max"))
    fit = smallest_board(priced, budget, None, 0)
    report = factories.report(
        tmp_path, finalists=(), winner=None, nearest_miss=miss, history=(), smallest=fit
    )
    text = report.explain()
    assert "flash raised by a tenth to 21.5 KiB still nothing fits" in text
    assert fit is not None and fit.board.name in text
    again = Report.load(report.save(tmp_path / "report.json"))
    assert again.nearest_miss == miss and again.smallest_board() == fit


def test_a_floor_that_none_reached_is_a_miss_of_the_metric(tmp_path: Path) -> None:
    budget = replace(factories.BUDGET, accuracy=0.99)
    made = factories.report(tmp_path, finalists=(), winner=None, budget=budget)
    best = max(made.history, key=lambda t: t.score.value)
    miss = NearestMiss(best.candidate, "metric", 0.05, -1, "", 0.0)
    text = replace(made, nearest_miss=miss).explain()
    assert "none is good enough" in text and f"trial {best.candidate.number}" in text
