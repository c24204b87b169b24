"""A trial after each stage: Candidate → Trained → Verified; each contains the one before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hwsearch.board import Board
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Cost

Level = Literal["image", "outputs", "estimate"]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric of one deployed artefact on data that is named.

    Attributes:
        value: the metric.
        low, high: its 95 % interval.
        samples: how many it was measured on.
        oracle: what ran the artefact, e.g. ``"tflite-micro"``, ``"LiteRT XNNPACK"``, ``"Keras"``.
    """

    value: float
    low: float
    high: float
    samples: int
    oracle: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that was asked for, and its estimated cost.

    Attributes:
        number: of the trial in its study.
        configuration: the choice.
        cost: estimated before any training.
        hyperparameters: name and value of those that the model was built with, where a
            hypermodel built it.
    """

    number: int
    configuration: Configuration
    cost: Cost
    hyperparameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a fine-tune: mean training loss."""

    loss: float


@dataclass(frozen=True)
class Trained:
    """A candidate that was trained, converted and scored.

    Attributes:
        candidate: what was asked for.
        tflite: the artefact.
        score: on the half of the validation data that the search optimises.
        curve: the fine-tune's epochs; shared by all leaves of one training.
        train_s: seconds of the fine-tune, 0 for a leaf of another trial's training.
        notes: what to know of its training: a method that fell back and why, a loss that diverged.
        plain: with QAT the score, on the same samples, of the same network at the same bits
            without it, trained for as long and quantized afterwards.
        diverged: whether the loss became NaN or infinite: training ended there, with the last
            finite weights. Such a trial is not promoted.
    """

    candidate: Candidate
    tflite: Path
    score: Score
    curve: tuple[Epoch, ...]
    train_s: float
    notes: tuple[str, ...] = ()
    plain: Score | None = None
    diverged: bool = False


@dataclass(frozen=True)
class Measurement:
    """What a device, emulator or host oracle said of one artefact; what it cannot know is None.

    Attributes:
        device: e.g. ``"tflite-micro wheel, x86-64"``, ``"emulator:cortex-m4"``.
        kind: ``"board"``, ``"emulator"`` or ``"host"``.
        arena_bytes: non-persistent part of the arena (activations and scratch).
        flash_bytes, ram_bytes: of the linked image.
        instructions, cycles: of one inference.
        latency_s, energy_j: of one inference.
        repeats: inferences measured.
        spread: relative half-range of their times.
        compared_outputs, mismatched_outputs: output bytes compared with the oracle's.
    """

    device: str
    kind: Literal["board", "emulator", "host"]
    arena_bytes: int | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    instructions: int | None = None
    cycles: float | None = None
    latency_s: float | None = None
    energy_j: float | None = None
    repeats: int = 1
    spread: float | None = None
    compared_outputs: int = 0
    mismatched_outputs: int = 0


@dataclass(frozen=True)
class Verified:
    """A finalist: run by the oracle and scored on data that the search never saw.

    Attributes:
        trained: the trial.
        level: how far it was proven: ``"image"`` linked, run and every output byte compared;
            ``"outputs"`` run by the host oracle, its arena measured; ``"estimate"`` neither.
        score: on the report half or the test data.
        difference: this minus the original float model, paired over the same samples.
        measurement: what the device or oracle said; None at level ``"estimate"``.
        note: why it is not at a higher level, or "".
    """

    trained: Trained
    level: Level
    score: Score
    difference: Score
    measurement: Measurement | None
    note: str = ""


@dataclass(frozen=True)
class Relief:
    """What raising one limit by a tenth would buy, by estimate.

    Attributes:
        limit: the cost, e.g. ``"ram_bytes"``.
        value: its limit, raised.
        candidate: the largest network that would fit; where some were scored, the one whose
            metric is expected to be best. None when still nothing fits.
        excess: where nothing fits, by how much the nearest misses some limit then.
        metric: what that network is expected to reach; None where too few were scored.
    """

    limit: str
    value: float
    candidate: Candidate | None
    excess: float
    metric: float | None = None


@dataclass(frozen=True)
class BoardFit:
    """A board on which a configuration fits, by estimate.

    Attributes:
        board: it.
        candidate: the configuration, with its costs there.
    """

    board: Board
    candidate: Candidate


@dataclass(frozen=True)
class NearestMiss:
    """When nothing fits: the configuration that came nearest.

    Attributes:
        candidate: it.
        limit: the cost whose limit it exceeds most, e.g. ``"ram_bytes"``; ``"metric"`` where
            costs fit and no network is good enough.
        excess: by how much, relative to the limit.
        op_index, op_kind: the operator that sets that cost's peak or takes its largest share.
        op_share: what that operator takes of it, in the cost's unit.
        reliefs: what each limit would buy if it alone were raised.
    """

    candidate: Candidate
    limit: str
    excess: float
    op_index: int
    op_kind: str
    op_share: float
    reliefs: tuple[Relief, ...] = ()
