"""Verification: a finalist run by the oracle on data that no search saw, and on a device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hwsearch import proof
from hwsearch.backends import backend
from hwsearch.budget import Budget, shown
from hwsearch.candidate import Measurement, Score, Trained, Verified
from hwsearch.data import Array, Samples
from hwsearch.device import port_of
from hwsearch.errors import AbsentError, DeviceError, RefusedError, ToolchainError
from hwsearch.evaluate import FAST, exact, fast
from hwsearch.metric import Metric
from hwsearch.pricing import Pricing
from hwsearch.proof import port_on

IMAGE_SAMPLES = 8
"""Report samples that a finalist's image runs; the oracle runs them all."""


def verify(
    finalists: Sequence[Trained],
    report: Samples,
    original: Sequence[Array],
    metric: Metric,
    pricing: Pricing,
    budget: Budget,
    device: str,
    workers: int,
) -> tuple[list[Verified], list[tuple[Verified, str]]]:
    """Runs each finalist by TFLite Micro itself on the report samples.

    Args:
        finalists: trials.
        report: samples that the search never saw.
        original: the float model's outputs on them.
        metric: scores.
        pricing: the arena that was planned.
        budget: what a measured arena is held against.
        device: where images of ahead-of-time models run; one that does not answer is a note.
        workers: oracles run at once.

    Returns:
        (those that hold, those that do not with the reason).
    """
    if port_of(device) is None:
        workers = 1  # a board runs one image at a time
    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = list(
            pool.map(
                lambda t: _one(t, report, original, metric, pricing, budget, device), finalists
            )
        )
    held = [verified for verified, reason in found if not reason]
    return held, [(verified, reason) for verified, reason in found if reason]


def _one(
    trained: Trained,
    report: Samples,
    original: Sequence[Array],
    metric: Metric,
    pricing: Pricing,
    budget: Budget,
    device: str,
) -> tuple[Verified, str]:
    content = trained.tflite.read_bytes()
    configuration = trained.candidate.configuration
    names = [b.name for b in pricing.ranks.backends]
    runtime = pricing.ranks.backends[names.index(configuration.backend)]
    columns = pricing.columns(configuration)
    planned = int(runtime.ram(columns).arena[0])
    measured: Measurement | None = None
    note = reason = ""
    try:
        outputs, measured, ran = exact(content, report.inputs, planned)
    except RefusedError as error:
        outputs, ran, reason = fast(content, report.inputs), FAST, str(error)
    score = metric.score(report.targets, outputs, ran)
    difference = metric.difference(report.targets, outputs, original, ran)
    if measured is None:
        note = "no tflite-micro wheel on this machine: outputs by LiteRT, arena not measured"
        return Verified(trained, "estimate", score, difference, None, note), reason
    if runtime.name == "aot":
        most = getattr(runtime, "most_cycles", math.inf)
        on = (device, port_on(device, pricing.board), most)
        return _on_device(trained, score, difference, measured, report, budget, on)
    # The oracle has the reference kernels, so it is their arena that it measures; another
    # runtime's plan differs from theirs by its own scratch alone.
    expected = int(backend("tflm").ram(columns).arena[0])
    if measured.arena_bytes != expected:
        total = (trained.candidate.cost.ram_bytes or 0) - expected + (measured.arena_bytes or 0)
        note = f"arena measured {measured.arena_bytes:,} B, planned {expected:,} B"
        if total > budget.limits.get("ram_bytes", math.inf):
            reason = f"{note}: RAM would be {shown('ram', total)}"
    if runtime.name != "tflm":
        measured = replace(measured, arena_bytes=None)
        note = note or f"arena measured with the reference kernels, not {runtime.name}'s"
    return Verified(trained, "outputs", score, difference, measured, note), reason


def _on_device(
    trained: Trained,
    score: Score,
    difference: Score,
    by_oracle: Measurement,
    report: Samples,
    budget: Budget,
    on: tuple[str, str, float],
) -> tuple[Verified, str]:
    """Built, linked and run: every output byte compared, flash and RAM those of the image.

    Args:
        on: the device, the port of its firmware, cycles that its budget leaves.
    """
    inputs = [x[:IMAGE_SAMPLES] for x in report.inputs]
    device, port, most_cycles = on
    # A board may be unplugged overnight; what is greeted and falls silent then, or an emulated
    # one that never greets, has an image that hangs.
    absent = (ToolchainError,) if port_of(device) else (ToolchainError, AbsentError)
    try:
        measured = proof.verify(trained.tflite, device, inputs, port=port, most_cycles=most_cycles)
    except absent as error:
        kept = replace(by_oracle, arena_bytes=None)
        note = f"no image was run on {device}: {str(error).splitlines()[0]}"
        return Verified(trained, "outputs", score, difference, kept, note), ""
    except (DeviceError, RefusedError) as error:  # trained weights can be what a model's were not
        kept = replace(by_oracle, arena_bytes=None)
        return Verified(trained, "outputs", score, difference, kept), str(error)
    verified = Verified(trained, "image", score, difference, measured)
    if measured.mismatched_outputs:
        return verified, (
            f"{measured.mismatched_outputs} of {measured.compared_outputs} output bytes differ "
            f"between {device} and {score.oracle}"
        )
    over = [
        f"{name.rpartition('_')[0]} of the linked image is {shown(name, used)}, over "
        f"{shown(name, limit)}"
        for name, limit in budget.limits.items()
        if (used := getattr(measured, name)) is not None and used > limit
    ]
    return verified, "; ".join(over)
