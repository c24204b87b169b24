"""Makes the grid, a training at a time: ``make search-grid``.

    python -m benchmarks.search_grid.make            # goes on where it stopped; about 60 min idle
    python -m benchmarks.search_grid.make --quick    # measures 3 random cells again and compares
    python -m benchmarks.search_grid.make --base     # trains the network anew, too

Each training and each recipe is the product's own: what a search's trial process runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.processes import follow
from benchmarks.search_grid import grid, stored
from hwsearch.configuration import Configuration
from hwsearch.data import Samples
from hwsearch.search import carried, training

BUILD = Path(__file__).parents[2] / "build" / "search_grid"
A_PROCESS = 64
"""Trainings a process: each leaves memory behind."""

SIGMAS = 4
"""Standard deviations of training noise within which a cell that is measured again must lie."""


@dataclass(frozen=True)
class Work:
    """What one process needs to measure a cell.

    Attributes:
        structure: index of the structure.
        seed: of its training.
        configuration: of the structure, at 8 bits.
        groups: name and full width of each channel group.
        precisions: the recipes.
        loss, metric: carried.
    """

    structure: int
    seed: int
    configuration: Configuration
    groups: tuple[tuple[str, int], ...]
    precisions: tuple[training.Precision, ...]
    loss: bytes
    metric: bytes

    @property
    def path(self) -> Path:
        """Where its cell is kept until the grid is whole."""
        return BUILD / "cells" / f"{self.structure}-{self.seed}.json"


def measure(work: Work) -> stored.Cell:
    """Trains, quantizes and scores one structure: the product's trial, then the report half."""
    import tensorflow as tf

    from hwsearch.evaluate import FAST, fast

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    widths = zip(work.groups, work.configuration.widths, strict=True)
    job = training.Job(
        directory=BUILD,
        structure=f"{work.structure}-{work.seed}",
        widths={name: kept for (name, full), kept in widths if kept < full},
        saliency=work.configuration.saliency,
        schedule=work.configuration.schedule,
        precisions=work.precisions,
        space=grid.SPACE,
        loss=work.loss,
        metric=work.metric,
        custom_objects=carried.dumps({}),
        seed=work.seed,
        threads=1,
    )
    result = training.run(job)
    metric = carried.loads(work.metric)
    report = Samples.load(BUILD / "data" / "report")
    search_right, report_right = [], []
    for precision in work.precisions:
        artefact = result.of(precision)
        if artefact is None:
            raise SystemExit(f"structure {work.structure} has no artefact {precision.name}")
        score = metric.score(
            report.targets, fast(artefact.tflite.read_bytes(), report.inputs), FAST
        )
        search_right.append(round(artefact.score.value * artefact.score.samples))
        report_right.append(round(score.value * score.samples))
    cell = stored.Cell(
        work.structure,
        work.seed,
        tuple(search_right),
        tuple(report_right),
        round(result.curve[-1].loss, 5),
        round(result.train_s, 2),
    )
    shutil.rmtree(job.folder)
    return cell


def prepare() -> tuple[stored.Network, dict[tuple[int, int], Work]]:
    """Reads the base network and lays out its data for the trainings; the work of each cell."""
    from benchmarks.search_grid import base

    problem = base.load()
    pricing, op_indexes = grid.narrowed(problem.pricing, problem.op_indexes)
    (BUILD / "cells").mkdir(parents=True, exist_ok=True)
    problem.save(BUILD)
    problem.report.save(BUILD / "data" / "report")
    rows = np.zeros((len(grid.STRUCTURES), len(pricing.ranks.parameters)), np.int64)
    rows[:, : len(grid.WIDTHS)] = grid.STRUCTURES
    configurations = pricing.ranks.configurations(pricing.ranks.decode(rows))
    groups = tuple((name, full) for name, full, _ in pricing.ranks.layout.groups)
    loss, metric = carried.dumps(problem.loss), carried.dumps(problem.metric)
    precisions = grid.recipes(op_indexes)
    works = {
        (i, seed): Work(i, seed, configurations[i], groups, precisions, loss, metric)
        for i, seed in grid.CELLS
    }
    network = stored.Network(pricing, op_indexes, problem.digest(), problem.original.value)
    return network, works


def measured(works: list[Work]) -> list[stored.Cell]:
    """Measures cells in processes that are replaced after some trainings; prints the progress."""
    cells: list[stored.Cell] = []
    begin = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    for first in range(0, len(works), A_PROCESS):
        with ProcessPoolExecutor(1, spawn, follow) as process:
            for cell in process.map(measure, works[first : first + A_PROCESS]):
                part = BUILD / "cells" / f"{cell.structure}-{cell.seed}.part"
                part.write_text(json.dumps(asdict(cell)))
                part.replace(part.with_suffix(".json"))
                cells.append(cell)
                print(
                    f"{len(cells):4} of {len(works)}: structure {cell.structure:3}, seed "
                    f"{cell.seed}: {cell.search_right[0] / grid.SAMPLES:.4f} at int8, "
                    f"{(time.monotonic() - begin) / len(cells):.1f} s a cell",
                    flush=True,
                )
    return cells


def make() -> None:
    """Measures what is missing, then writes the grid."""
    network, works = prepare()
    missing = [work for work in works.values() if not work.path.is_file()]
    # Not in order: a part of the grid is then a fair sample of it.
    random.Random(0).shuffle(missing)
    missing.sort(key=lambda work: work.seed)
    measured(missing)
    stored.save_network(network)
    pack(network.model)


def pack(model: str) -> None:
    """Writes the cells that are there.

    Args:
        model: digest of the network that they are of.
    """
    names = {f"{structure}-{seed}.json" for structure, seed in grid.CELLS}
    paths = [path for path in (BUILD / "cells").glob("*.json") if path.name in names]
    stored.save_cells([stored.cell(json.loads(path.read_text())) for path in paths], model)
    print(f"{len(paths)} of {len(names)} cells in {stored.CELLS_FILE}")


def compare(count: int) -> None:
    """Measures random cells again; fails when one lies outside the training noise."""
    network, works = prepare()
    known = stored.load_cells(network.model)
    noise = stored.noise(known)
    worst = 0.0
    for cell in measured([works[pick] for pick in random.sample(sorted(known), count)]):
        then = known[cell.structure, cell.seed]
        apart = np.abs(np.subtract(cell.search_right, then.search_right)) / grid.SAMPLES
        worst = max(worst, float(apart.max()))
        print(f"structure {cell.structure}, seed {cell.seed}: at most {apart.max():.4f} apart")
    print(f"worst difference {worst:.4f}; training noise {noise:.4f} (standard deviation)")
    if worst > SIGMAS * noise:
        sys.exit(f"a cell differs by more than {SIGMAS} standard deviations of training noise")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", type=int, metavar="N", help="measure N random cells again")
    parser.add_argument("--base", action="store_true", help="train the network anew")
    parser.add_argument("--pack", action="store_true", help="write the cells that are there")
    arguments = parser.parse_args()
    if arguments.quick:
        compare(arguments.quick)
        return
    if arguments.pack:
        pack(stored.load_network().model)
        return
    if arguments.base:
        from benchmarks.search_grid import base

        base.train()
        shutil.rmtree(BUILD, ignore_errors=True)
    make()


if __name__ == "__main__":
    main()
