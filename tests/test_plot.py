"""Figures: what is drawn, not how it looks; the looks are checked by eye."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import factories
import numpy as np
import pytest

from hwsearch import plot
from hwsearch.backends import backend
from hwsearch.budget import Budget
from hwsearch.cost.columns import Columns
from hwsearch.cost.memory import Lifetimes, align, greedy
from hwsearch.errors import InputError
from hwsearch.graph.tflite import read
from hwsearch.report import Report

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return factories.report(tmp_path)


def test_a_panel_a_budgeted_cost_with_every_trial_limit_and_original(report: Report) -> None:
    figure = plot.pareto_figure(report)
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert labels == ["flash, KiB", "RAM, KiB", "latency, ms"]
    flash = figure.axes[0]
    points = flash.collections[0].get_offsets()
    expected = [(t.candidate.cost.flash_bytes / 1024, t.score.value) for t in report.history]
    assert np.allclose(points, expected)
    vertical = [line.get_xdata()[0] for line in flash.lines if line.get_label() == "limit"]
    assert vertical == [192.0]
    level = next(line for line in flash.lines if line.get_label() == "original, float")
    assert set(level.get_ydata()) == {0.91}
    star = next(line for line in flash.lines if line.get_marker() == "*")
    assert star.get_ydata()[0] == report.chosen.score.value


def test_without_a_budget_flash_is_drawn_and_no_limit(tmp_path: Path) -> None:
    figure = plot.pareto_figure(factories.report(tmp_path, budget=Budget()))
    assert [ax.get_xlabel() for ax in figure.axes] == ["flash, KiB"]
    assert "limit" not in [line.get_label() for line in figure.axes[0].lines]


def test_a_far_limit_does_not_squeeze_the_points(tmp_path: Path) -> None:
    figure = plot.pareto_figure(factories.report(tmp_path, budget=Budget(flash="2 MiB")))
    assert figure.axes[0].get_xlim()[1] < 400
    assert "limit 2,048 →" in [t.get_text() for t in figure.axes[0].texts]


def test_the_hypervolume_never_falls_and_ends_at_one(report: Report) -> None:
    share = plot.progress(report)
    assert len(share) == len(report.history) and share[-1] == 1
    assert (np.diff(share) >= -1e-12).all() and share[0] < 1


@pytest.mark.parametrize("trials", [0, 1])
def test_a_search_with_no_trial_or_one_can_be_drawn(tmp_path: Path, trials: int) -> None:
    report = factories.report(tmp_path, trials, finalists=(), winner=None)
    assert plot.png(plot.overview(report)).startswith(PNG)


def test_unknown_cycles_are_named_not_drawn_as_nothing() -> None:
    cost = factories.cost(latency=None)
    left, right = plot.ops_figure(cost).axes
    assert [t.get_text() for t in left.texts] == ["unknown"] * len(cost.ops)
    widths = [bar.get_width() for bar in right.patches]
    assert widths == pytest.approx([op.flash_bytes / 1024 for op in cost.ops])


def test_the_memory_plan_draws_each_buffer_where_it_lies() -> None:
    lifetimes = Lifetimes.of(np.array([-1, 0, 1]), np.array([0, 1, 2]))
    plan = greedy(align(np.array([[100, 2000, 300]])), lifetimes)
    figure = plot.memory_figure(plan, ["in", "middle", "out"], ops=["conv_2d", "add", "mean"])
    drawn = [
        (box.get_y() * 1024, box.get_height() * 1024, box.get_x(), box.get_width())
        for box in figure.axes[0].patches
    ]
    for i, (begin, span) in enumerate([(-0.5, 1), (-0.5, 2), (0.5, 2)]):
        box = (float(plan.offsets[0, i]), float(plan.sizes[0, i]), begin, span)
        assert any(np.allclose(box, d) for d in drawn), box
    assert any("arena 2." in t.get_text() for t in figure.axes[0].texts)


def test_the_memory_of_the_chosen_is_its_runtimes_own_plan(report: Report) -> None:
    figure = plot.deployed_memory_figure(report.chosen)
    columns = Columns.of(read(report.chosen.tflite).graph)
    arena = int(backend(report.chosen.configuration.backend).ram(columns).arena[0])
    assert f"arena {arena / 1024:,.1f} KiB " in [t.get_text() for t in figure.axes[0].texts]
    report.chosen.tflite.unlink()
    assert plot.deployed_memory_figure(report.chosen) is None


def test_files_are_the_same_each_time(report: Report, tmp_path: Path) -> None:
    for suffix in (".png", ".svg"):
        first = plot.save(plot.overview(report), tmp_path / f"a{suffix}").read_bytes()
        again = plot.save(plot.overview(report), tmp_path / f"b{suffix}").read_bytes()
        assert first == again
    assert plot.svg(plot.hypervolume_figure(report)).startswith("<svg")
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        report.plot(tmp_path / "a.pdf")


def test_intervals_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    model = factories.verified(factories.trained(tmp_path, 0))
    model = replace(model, score=replace(model.score, low=float("nan")))
    report = factories.report(tmp_path, finalists=(model,), winner=model)
    assert plot.png(plot.pareto_figure(report)).startswith(PNG)


def test_drawing_leaves_matplotlib_as_it_was(report: Report) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot.png(plot.overview(report))
    assert dict(matplotlib.rcParams) == before
