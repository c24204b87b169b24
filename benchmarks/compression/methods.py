"""The methods that are compared: each makes an artefact of a task's original at a level."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hwsearch
from benchmarks.compression.bench import (
    BACKEND,
    BATCH,
    BOARD,
    DISTILLATION,
    LOW_SHARE,
    RATE,
    ROOM,
    TEMPERATURE,
    Bench,
    Made,
)
from benchmarks.compression.cells import Cell
from benchmarks.compression.tasks import TASKS
from hwsearch.compress import schedule
from hwsearch.compress import structured as structured_pruning
from hwsearch.compress.differentiable import shrink
from hwsearch.compress.elementwise import Elementwise, spread
from hwsearch.compress.goal import Goal
from hwsearch.compress.saliency import Evidence, keep, saliency
from hwsearch.compress.tuning import Tuning
from hwsearch.graph import keras_channels
from hwsearch.space import Space
from hwsearch.train import fine_tune

WHOLE = ("values", "int4", "int4-qat")
"""Methods that leave the widths alone: at level 0 only, as the original."""

SEARCHED_TRIALS, SEARCHED_SHARE = 12, 0.1
"""Trainings of the searched baseline, and the share of every method's epochs that each takes; the
best is trained as all others."""

SEARCHED_RATIOS = tuple(i / 32 for i in range(32))
"""Of which it draws one a group: up to 128 channels it can have every width that the levels have;
of the widest group, 500, one within 4 of them."""

Method = Callable[[Bench, Cell], Made]


def original(bench: Bench, cell: Cell) -> Made:
    """Not cut, not trained: int8 alone."""
    return Made(bench.deployed(bench.model), 0.0)


def structured(kind: str, how: str, labels: bool, bench: Bench, cell: Cell) -> Made:
    """Widths of the level, channels by saliency."""
    started, data = time.monotonic(), bench.data.train
    evidence = Evidence(data, bench.task.loss, cell.seed)

    def tune(network: Any, epochs: int) -> None:
        fine_tune(network, data, bench.task.loss, epochs=epochs, **bench.recipe(cell.seed, labels))

    cut, _, _ = schedule.cut(
        bench.fresh(),
        dict(zip(bench.groups.names, map(int, bench.widths(cell.level)), strict=True)),
        lambda network, groups: saliency(network, groups, kind, evidence),
        how,
        bench.task.tuned,
        tune,
    )
    return Made(bench.deployed(cut), time.monotonic() - started)


def elementwise(
    wanted: Elementwise,
    cuts: bool,
    low: bool,
    bench: Bench,
    cell: Cell,
    times: int = 1,
    labels: bool = False,
) -> Made:
    """Zeros, shared values or 4 bits, trained in as long as every method trains.

    Args:
        wanted: what is done to single weights; a sparsity of 1 stands for the level's.
        cuts: whether the level's widths are cut too, by l2; else the level is that of the zeros.
        low: whether operators get 4 bits, all but the most sensitive, as
            :data:`LOW_SHARE` says.
        times: so many times as long as every method trains.
        labels: whether it trains on labels alone.
    """
    started, task, epochs = time.monotonic(), bench.task, times * bench.task.tuned
    model = bench.fresh()
    if wanted.sparsity == 1:
        wanted = replace(wanted, sparsity=cell.level)
    wanted = spread(model, wanted)
    if cuts:
        groups = keras_channels.groups(model)
        widths = dict(zip(groups.names, map(int, bench.widths(cell.level)), strict=True))
        ranked = saliency(model, groups, "l2").values
        model = structured_pruning.prune(model, groups, keep(ranked, widths))
    bits = bench.low(model) if low else {}
    tune = Tuning(
        bench.data.train, task.loss, bench.recipe(cell.seed, labels), wanted, "agp", epochs, bits,
        stops=False,
    )  # fmt: skip
    tune(model, epochs)
    return Made(bench.deployed(model, bits), time.monotonic() - started)


def differentiable(bench: Bench, cell: Cell) -> Made:
    """Gates trained with the weights; told only the level's budget."""
    started = time.monotonic()
    full = bench.configuration(bench.groups.widths)
    target = Goal(bench.pricing, bench.budget(cell.level), full)
    found = shrink(
        bench.fresh(), bench.groups, bench.data.train, bench.task.loss, target,
        epochs=bench.task.tuned, **bench.recipe(cell.seed),
    )  # fmt: skip
    assert max(found.uses.values()) <= 1, found.uses
    return Made(bench.deployed(found.model), time.monotonic() - started)


def searched(bench: Bench, cell: Cell) -> Made:
    """The baseline of the field: magnitude pruning under multivariate TPE, the best in full."""
    started, (x, y) = time.monotonic(), (bench.data.train.inputs[0], bench.data.train.targets[0])
    search = bench.data.search
    with tempfile.TemporaryDirectory() as folder:
        report = hwsearch.optimize(
            bench.fresh(),
            bench.budget(cell.level),
            data=(x, y),
            validation_data=(search.inputs[0], search.targets[0]),
            test_data=(search.inputs[0], search.targets[0]),
            board=BOARD, backends=BACKEND, loss=bench.task.loss, metric=bench.task.metric,
            mode=bench.task.mode, objectives=["accuracy"], sampler="tpe", seed=cell.seed,
            trials=SEARCHED_TRIALS, directory=folder,
            space=Space(
                pruning_ratio=SEARCHED_RATIOS,
                saliency=("l1",), weight_bits=(8,), activation_bits=(8,),
                epochs=max(1, round(SEARCHED_SHARE * bench.task.tuned)), rungs=(bench.task.tuned,),
                learning_rate=RATE, batch_size=BATCH,
                distillation=(DISTILLATION,), temperature=TEMPERATURE,
            ),
        )  # fmt: skip
        assert report.chosen is not None, "nothing fitted"
        content = Path(report.chosen.tflite).read_bytes()
    return Made(content, time.monotonic() - started)


METHODS: dict[str, Method] = {
    "original": original,
    "l1": partial(structured, "l1", "one-shot", False),
    "l2": partial(structured, "l2", "one-shot", False),
    "taylor": partial(structured, "taylor", "one-shot", False),
    "apoz": partial(structured, "apoz", "one-shot", False),
    "bn": partial(structured, "bn", "one-shot", False),
    "random": partial(structured, "random", "one-shot", False),
    "l2-agp": partial(structured, "l2", "agp", False),
    "l2-labels": partial(structured, "l2", "one-shot", True),
    "differentiable": differentiable,
    "zeros": partial(elementwise, Elementwise(sparsity=1.0), False, False),
    "zeros-long": partial(elementwise, Elementwise(sparsity=1.0), False, False, times=2),
    "values": partial(elementwise, Elementwise(clusters=16), False, False),
    "int4": partial(elementwise, Elementwise(), False, True),
    "int4-qat": partial(elementwise, Elementwise(qat=True), False, True),
    "l2+zeros": partial(elementwise, Elementwise(sparsity=0.7), True, False),
    "l2+zeros90": partial(elementwise, Elementwise(sparsity=0.9), True, False),
    "l2+zeros-long": partial(
        elementwise, Elementwise(sparsity=0.92), True, False, times=2, labels=True
    ),
    "l2+values": partial(elementwise, Elementwise(clusters=16), True, False),
    "l2+int4": partial(elementwise, Elementwise(), True, True),
    "l2+int4-qat": partial(elementwise, Elementwise(qat=True), True, True),
    "magnitude+tpe": searched,
}

DEPENDS: dict[str, tuple[object, ...]] = {
    "differentiable": (ROOM,),
    "magnitude+tpe": (
        ROOM,
        SEARCHED_TRIALS,
        SEARCHED_SHARE,
        "TPE is asked for half of them",
        len(SEARCHED_RATIOS),
    ),
    "int4-qat": (LOW_SHARE,),
    "l2+int4-qat": (LOW_SHARE,),
    "zeros-long": (2,),
    "l2+zeros": (0.7,),
    "l2+zeros90": (0.9,),
    "l2+zeros-long": (0.92, 2, "labels"),
    "values": (16,),
    "l2+values": (16,),
    "int4": (LOW_SHARE, "to the last epoch"),
    "l2+int4": (LOW_SHARE, "to the last epoch"),
}
"""What a method's figures depend on beside what all do; words where it was mended."""


def cells(tasks: Iterable[str], methods: Collection[str], only: Collection[float]) -> list[Cell]:
    """What is measured with one seed, by task; only some levels, where some are named."""
    found = []
    for task in map(TASKS.__getitem__, tasks):
        for method in methods:
            if method == "zeros":
                levels = task.zeros
            elif method == "zeros-long":
                levels = task.long
            elif method == "l2+zeros-long":
                levels = task.narrow
            elif method == "original" or method in WHOLE:
                levels = (0.0,) if method == "original" or task.whole else ()
            else:
                levels = task.levels
            found += [Cell(task.name, method, x, 0) for x in levels if x in only or not only]
    return found
