"""Small, whole values of the stages of a trial and of a Report, for tests; nothing is trained.

The artefacts are real ``.tflite`` files of random networks; accuracies and costs are drawn so that
larger networks are better, as in a search.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tflite_writer import random_network

from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.candidate import (
    Candidate,
    Epoch,
    Measurement,
    NearestMiss,
    Score,
    Trained,
    Verified,
)
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Band, Cost, OpCost
from hwsearch.layout import Layout
from hwsearch.report import Report

BOARD = Board("nucleo-test", "M4", 120e6, 2 << 20, 640 << 10, 0.05, "STM32TEST")
BUDGET = Budget(flash="192 KiB", ram="24 KiB", latency="150 ms")
LAYOUT = Layout(
    (("stem", 32, 4), ("body", 32, 4), ("head", 32, 4)),
    tuple((op, "conv_2d", 9) for op in ("stem", "dw", "body", "out")),
)
"""What :func:`configuration` is a choice of."""

KINDS = ("conv_2d", "depthwise_conv_2d", "conv_2d", "add", "average_pool_2d", "fully_connected")


def score(value: float = 0.88, width: float = 0.01, oracle: str = "tflite-micro") -> Score:
    """A score with an interval of this half-width, on 5,000 samples."""
    return Score(value, value - width, value + width, 5000, oracle)


def cost(flash: int = 40_000, ram: int = 16_000, latency: float | None = 0.05) -> Cost:
    """A cost whose break-down adds up to its cycles, and whose flash and RAM have a peak."""
    share = np.array([8, 20, 40, 2, 1, 9]) / 80
    cycles = None if latency is None else latency * 120e6
    ops = tuple(
        OpCost(
            i,
            kind,
            int(1e6 * share[i]),
            None if cycles is None else float(cycles * share[i]),
            int(flash * share[i] / 4),
            int(ram * (1 - abs(i - 2) / 8)),
        )
        for i, kind in enumerate(KINDS)
    )
    bands = {
        "flash_bytes": Band(-0.01, 0.01, "linked images"),
        "latency_s": Band(-0.2, 0.25, "published measurements"),
    }
    energy = None if latency is None else latency * 0.05
    return Cost(flash, ram, latency, energy, 1_000_000, cycles, None, bands, ops)


def configuration(seed: int = 0, backend: str = "tflm-cmsis-nn") -> Configuration:
    """Three groups, four operators."""
    rng = np.random.default_rng(seed)
    widths = tuple(int(w) for w in rng.choice([8, 16, 24, 32], 3))
    bits = tuple(int(b) for b in rng.choice([4, 8, 8], 4))
    return Configuration(widths, "l1", backend, 8, bits)


def artefact(directory: Path, number: int) -> Path:
    """A real ``.tflite`` of a small random network."""
    path = directory / f"trial_{number:04}.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(random_network(np.random.default_rng(number), layers=3))
    return path


def trained(
    directory: Path,
    number: int = 0,
    value: float = 0.88,
    width: float = 0.01,
    costs: Cost | None = None,
    **configured: Any,
) -> Trained:
    """A trial of two epochs."""
    candidate = Candidate(number, configuration(number, **configured), costs or cost())
    curve = (Epoch(0.71), Epoch(0.52))
    own = score(value, width, "LiteRT XNNPACK")
    return Trained(candidate, artefact(directory, number), own, curve, 6.5)


def verified(trial: Trained, shift: float = -0.004) -> Verified:
    """A finalist that the host oracle ran."""
    measured = Measurement("tflite-micro wheel, x86-64", "host", arena_bytes=14_336, repeats=1)
    fresh = score(trial.score.value + shift)
    difference = Score(
        fresh.value - 0.91, fresh.value - 0.916, fresh.value - 0.904, 5000, "paired"
    )
    return Verified(trial, "outputs", fresh, difference, measured, "no compiler for this runtime")


def history(directory: Path, trials: int = 30) -> tuple[Trained, ...]:
    """Trials whose metric rises with their size, with some luck."""
    rng = np.random.default_rng(7)
    out = []
    for number in range(trials):
        size = rng.uniform(0.15, 1.0)
        value = 0.92 - 0.2 * (1 - size) ** 2 - abs(rng.normal(0, 0.01))
        costs = cost(int(60_000 + 130_000 * size), int(24_500 * size), float(0.15 * size**1.5))
        backend = ("tflm-cmsis-nn", "tflm")[number % 3 == 0]
        out.append(trained(directory, number, float(value), 0.008, costs, backend=backend))
    return tuple(out)


def report(directory: Path, trials: int = 30, **changes: Any) -> Report:
    """A finished search; ``changes`` replace its fields."""
    scored = history(directory, trials)
    best = sorted(scored, key=lambda t: -t.score.value)[:6]
    finalists = tuple(verified(t) for t in best)
    fields: dict[str, Any] = {
        "study": "fashion",
        "board": BOARD,
        "budget": BUDGET,
        "metric": "accuracy",
        "mode": "max",
        "original": score(0.91, oracle="Keras"),
        "original_tflite_bytes": 330_000,
        "finalists": finalists,
        "winner": finalists[1] if len(finalists) > 1 else None,
        "nearest_miss": None,
        "asked": 142,
        "rejected": 61,
        "screened": 2500,
        "trained": 20,
        "scored": trials,
        "failed": 1,
        "disqualified": (),
        "seconds": 432.0,
        "interrupted": False,
        "notes": ("layer 'flatten' keeps its width: its channels are counted by a reshape",),
        "history": scored,
        "directory": directory,
        "tracking": "",
    }
    return Report(**(fields | changes))


def measured_report(directory: Path, trials: int = 30) -> Report:
    """A finished search whose chosen model was linked and run."""
    found = report(directory, trials)
    assert found.winner is not None
    cost = found.winner.trained.candidate.cost
    measured = Measurement(
        "emulator:cortex-m4",
        "emulator",
        flash_bytes=int((cost.flash_bytes or 0) * 1.008),
        ram_bytes=int((cost.ram_bytes or 0) * 0.996),
        cycles=(cost.cycles or 0) * 1.03,
        compared_outputs=5120,
    )
    winner = replace(found.winner, level="image", measurement=measured, note="")
    others = tuple(v for v in found.finalists if v is not found.winner)
    return replace(found, finalists=(winner, *others), winner=winner)


def miss() -> NearestMiss:
    """A configuration a fifth over the RAM limit."""
    return NearestMiss(
        Candidate(3, configuration(3), cost(ram=29_491)), "ram_bytes", 0.2, 2, "conv_2d", 29_491.0
    )
