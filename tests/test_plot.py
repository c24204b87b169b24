"""Figures: what is drawn, not how it looks; the looks are checked by eye."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import factories
import numpy as np
import pytest

from hwsearch import figure, plot, plot_model
from hwsearch.backends import backend
from hwsearch.budget import Budget
from hwsearch.codegen import generate
from hwsearch.cost.columns import Columns
from hwsearch.cost.memory import Lifetimes, align, greedy
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.graph.tflite import read
from hwsearch.report import Report

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return factories.report(tmp_path)


def labels(drawn: object) -> list[tuple[str, str]]:
    return [(ax.get_xlabel(), ax.get_ylabel()) for ax in drawn.axes]


def test_a_panel_a_pair_of_objectives_with_every_trial_limit_and_original(report: Report) -> None:
    figure = plot.pareto_figure(report)
    flash, ram, latency = "flash, KiB", "RAM, KiB", "latency, ms"
    against = [(flash, "accuracy"), (ram, "accuracy"), (latency, "accuracy")]
    assert labels(figure) == [*against, (flash, ram), (flash, latency), (ram, latency)]
    assert labels(plot.overview(report)) == [
        *against,
        ("scored trials", labels(plot.hypervolume_figure(report))[0][1]),
    ]
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
    costs = figure.axes[3]
    points = costs.collections[0].get_offsets()
    cost = [t.candidate.cost for t in report.history]
    assert np.allclose(points, [(c.flash_bytes / 1024, c.ram_bytes / 1024) for c in cost])
    horizontal = [x.get_ydata()[0] for x in costs.lines if x.get_label() == "limit"]
    assert 24.0 in horizontal, "both limits are drawn"


def test_the_panels_follow_the_objectives(tmp_path: Path) -> None:
    one = factories.report(tmp_path, objectives=("metric", "latency_s"))
    assert labels(plot.pareto_figure(one)) == [("latency, ms", "accuracy")]
    two = factories.report(tmp_path, objectives=("ram_bytes", "energy_j"))
    assert labels(plot.pareto_figure(two))[-1] == ("RAM, KiB", "energy, mJ")
    alone = factories.report(tmp_path, objectives=("metric",))
    assert labels(plot.pareto_figure(alone)) == [("flash, KiB", "accuracy")]


def test_estimate_and_measurement_are_compared_in_percent(tmp_path: Path) -> None:
    model = factories.verified(factories.trained(tmp_path, 4, costs=factories.cost(flash=100_000)))
    measured = replace(model.measurement, flash_bytes=101_000, latency_s=0.04)
    model = replace(model, measurement=measured)
    report = factories.report(tmp_path, finalists=(model,), winner=model)
    (ax,) = plot.estimate_figure(report).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "flash of trial 4",
        "latency of trial 4",
    ]
    marks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"]
    assert marks == pytest.approx([1.0, -20.0])
    bands = [(b.get_x(), b.get_x() + b.get_width()) for b in ax.patches]
    assert np.allclose(bands, [(-1, 1), (-20, 25)])
    assert plot.estimate_figure(factories.report(tmp_path)) is None, "arenas alone are no cost"


def test_a_figure_that_cannot_be_drawn_is_an_error_that_says_why(tmp_path: Path) -> None:
    report = factories.report(tmp_path, finalists=(), winner=None)
    for what in ("memory", "operators", "estimate"):
        with pytest.raises(InputError, match="needs a chosen model"):
            report.plot(what=what)
    with pytest.raises(UnknownNameError, match="overview"):
        report.plot(what="pie")


def test_without_a_budget_flash_is_drawn_and_no_limit(tmp_path: Path) -> None:
    drawn = plot.pareto_figure(factories.report(tmp_path, budget=Budget()))
    assert [ax.get_xlabel() for ax in drawn.axes] == ["flash, KiB"]
    assert "limit" not in [line.get_label() for line in drawn.axes[0].lines]


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
    assert figure.png(plot.overview(report)).startswith(PNG)


def test_unknown_cycles_are_named_not_drawn_as_nothing() -> None:
    cost = factories.cost(latency=None)
    left, right = plot_model.ops_figure(cost).axes
    assert [t.get_text() for t in left.texts] == ["unknown"] * len(cost.ops)
    widths = [bar.get_width() for bar in right.patches]
    assert widths == pytest.approx([op.flash_bytes / 1024 for op in cost.ops])


def test_the_memory_plan_draws_each_buffer_where_it_lies() -> None:
    lifetimes = Lifetimes.of(np.array([-1, 0, 1]), np.array([0, 1, 2]))
    plan = greedy(align(np.array([[100, 2000, 300]])), lifetimes)
    figure = plot_model.memory_figure(
        plan, ["in", "middle", "out"], ops=["conv_2d", "add", "mean"]
    )
    drawn = [
        (box.get_y() * 1024, box.get_height() * 1024, box.get_x(), box.get_width())
        for box in figure.axes[0].patches
    ]
    for i, (begin, span) in enumerate([(-0.5, 1), (-0.5, 2), (0.5, 2)]):
        box = (float(plan.offsets[0, i]), float(plan.sizes[0, i]), begin, span)
        assert any(np.allclose(box, d) for d in drawn), box
    assert any("arena 2." in t.get_text() for t in figure.axes[0].texts)


def test_the_memory_of_the_chosen_is_its_runtimes_own_plan(report: Report) -> None:
    figure = plot_model.deployed_memory_figure(report.chosen)
    columns = Columns.of(read(report.chosen.tflite).graph)
    arena = int(backend(report.chosen.configuration.backend).ram(columns).arena[0])
    assert f"arena {arena / 1024:,.1f} KiB " in [t.get_text() for t in figure.axes[0].texts]
    report.chosen.tflite.unlink()
    assert plot_model.deployed_memory_figure(report.chosen) is None


def test_the_memory_of_generated_code_is_the_arena_that_it_declares(
    report: Report, tmp_path: Path
) -> None:
    verified = report.winner
    candidate = verified.trained.candidate
    generated = replace(candidate, configuration=replace(candidate.configuration, backend="aot"))
    winner = replace(verified, trained=replace(verified.trained, candidate=generated))
    chosen = replace(report, winner=winner, finalists=(winner,)).chosen
    drawn = plot_model.deployed_memory_figure(chosen)
    header = generate(read(chosen.tflite), tmp_path / "c").files[0].read_text()
    arena = int(re.search(r"_ARENA_BYTES (\d+)", header)[1])
    boxes = [p for p in drawn.axes[0].patches if p.get_zorder() > 0]  # the rest shades columns
    tops = [box.get_y() + box.get_height() for box in boxes]
    assert max(tops) * 1024 == pytest.approx(arena)


def test_files_are_the_same_each_time(report: Report, tmp_path: Path) -> None:
    for suffix in (".png", ".svg"):
        first = figure.save(plot.overview(report), tmp_path / f"a{suffix}").read_bytes()
        again = figure.save(plot.overview(report), tmp_path / f"b{suffix}").read_bytes()
        assert first == again
    assert figure.svg(plot.hypervolume_figure(report)).startswith("<svg")
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        report.plot(tmp_path / "a.pdf")


def test_intervals_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    model = factories.verified(factories.trained(tmp_path, 0))
    model = replace(model, score=replace(model.score, low=float("nan")))
    report = factories.report(tmp_path, finalists=(model,), winner=model)
    assert figure.png(plot.pareto_figure(report)).startswith(PNG)


def test_drawing_leaves_matplotlib_as_it_was(report: Report) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure.png(plot.overview(report))
    assert dict(matplotlib.rcParams) == before
