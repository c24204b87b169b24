"""The tabular grid of benchmarks/search_grid: whole, unchanged, and what the product measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_grid import grid, stored
from benchmarks.search_grid.table import Table, load
from hwsearch.candidate import Score
from hwsearch.pareto import hypervolumes
from hwsearch.search import carried
from hwsearch.search.training import Job

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def table() -> Table:
    return load()


def test_a_changed_number_does_not_match_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = stored.load_network()
    assert stored.load_cells(network.model)
    content = json.loads(stored.CELLS_FILE.read_text())
    content["cells"][5]["search_right"][3] += 1
    path = tmp_path / "cells.json"
    path.write_text(json.dumps(content))
    monkeypatch.setattr(stored, "CELLS_FILE", path)
    with pytest.raises(ValueError, match="does not match its digest"):
        stored.load_cells(network.model)


def test_the_table_is_whole(table: Table) -> None:
    assert set(table.cells) == set(grid.CELLS)
    assert len(grid.CELLS) == 256 + 2 * 32
    for cell in table.cells.values():
        assert len(cell.search_right) == len(cell.report_right) == len(table.recipes) == 8
        # No class of ten is guessed: every network has learnt, none is perfect.
        assert all(0.4 < n / grid.SAMPLES < 0.95 for n in cell.search_right + cell.report_right)
    assert 0.05 < table.feasible.mean() < 0.2
    assert len(table.front) >= 12
    assert 0.002 < stored.noise(table.cells) < 0.02


def test_every_configuration_of_the_space_is_in_the_table(table: Table) -> None:
    ranks = table.pricing.ranks
    drawn = ranks.configurations(ranks.decode(ranks.random(np.random.default_rng(0), 500)))
    for configuration in drawn:
        i = table.index(configuration)
        assert table.configurations[i] == configuration
        recipe = table.recipes[table.recipe[i]]
        assert recipe.activation_bits == configuration.activation_bits
        low = dict(recipe.weight_bits)
        bits = tuple(low.get(op, 8) for op in table.op_indexes)
        assert bits == configuration.weight_bits
        ratios = [grid.RATIOS[r] for r in grid.STRUCTURES[table.structure[i]]]
        widths = [round(w * (1 - r)) for w, r in zip(grid.WIDTHS, ratios, strict=True)]
        assert tuple(widths) == configuration.widths
    per_structure = {len(table.recipes) * len(grid.BACKENDS)}
    assert set(np.bincount(table.structure)) == per_structure


def test_no_point_dominates_the_front(table: Table) -> None:
    inside = table.values[table.feasible] * [-1, 1, 1, 1]
    for i in table.front:
        point = table.values[i] * [-1, 1, 1, 1]
        assert not ((inside <= point).all(axis=1) & (inside < point).any(axis=1)).any()
    assert table.hypervolumes(table.front)[-1] == pytest.approx(table.hypervolume)


def test_hypervolumes_agree_with_the_products(table: Table) -> None:
    order = np.random.default_rng(0).permutation(np.flatnonzero(table.affordable))[:60]
    ideal = table.values[table.feasible] * [-1, 1, 1, 1]
    best = ideal.min(axis=0) * [-1, 1, 1, 1]
    ours = table.hypervolumes(order)
    # The product's box reaches to the best point given: the table's ideal comes last.
    known = table.values[order][table.feasible[order]]
    theirs = hypervolumes(np.vstack([known, best]), table.reference, ["max", *["min"] * 3])
    assert ours[-1] == pytest.approx(theirs[-2], abs=0.015)
    assert (np.diff(ours) >= 0).all()
    assert table.regrets(np.flatnonzero(table.feasible))[-1] == 0


def test_a_job_is_answered_from_the_table(table: Table, tmp_path: Path) -> None:
    i = int(table.front[0])
    configuration = table.configurations[i]
    full = table.pricing.ranks.layout.groups
    job = Job(
        tmp_path,
        configuration.structure,
        {n: w for (n, f, _), w in zip(full, configuration.widths, strict=True) if w < f},
        configuration.saliency,
        configuration.schedule,
        (table.recipes[table.recipe[i]], table.recipes[3]),
        grid.SPACE,
        *([carried.dumps(None)] * 3),
        seed=0,
        threads=1,
    )
    result, reason = table.train(job)
    assert result is not None
    assert not reason
    assert [a.precision for a in result.artefacts] == list(job.precisions)
    assert all(a.tflite.is_file() for a in result.artefacts)
    score = table.score(configuration)
    assert isinstance(score, Score)
    assert result.artefacts[0].score == score
    assert score.value == table.accuracy[i]
    assert score.low < score.value < score.high


def test_the_table_needs_no_tensorflow() -> None:
    code = (
        "import sys; from benchmarks.search_grid.table import load; load(); "
        "print({'tensorflow', 'keras', 'mlflow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_the_stored_network_is_the_one_that_the_product_binds() -> None:
    from benchmarks.search_grid import base

    problem = base.load()
    pricing, op_indexes = grid.narrowed(problem.pricing, problem.op_indexes)
    kept = stored.load_network()
    assert kept.model == problem.digest()
    assert kept.op_indexes == op_indexes
    assert kept.pricing.ranks.layout == pricing.ranks.layout
    for bits, scheme in pricing.schemes.items():
        assert kept.pricing.schemes[bits].graph == scheme.graph
    rows = pricing.ranks.random(np.random.default_rng(0), 200)
    ours, theirs = (
        kept.pricing.price(pricing.ranks.decode(rows)),
        pricing.price(pricing.ranks.decode(rows)),
    )
    for name in ("flash_bytes", "ram_bytes", "latency_s", "energy_j"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True)


@pytest.mark.slow
def test_a_cell_measured_again_lies_within_training_noise() -> None:
    command = [sys.executable, "-m", "benchmarks.search_grid.make", "--quick", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "worst difference" in done.stdout
