"""Cells: one task, method, level and seed, really trained, deployed and scored; kept as JSON."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Cell:
    """What is measured.

    Attributes:
        task, method: names in :mod:`tasks` and :mod:`methods`.
        level: how hard the method cuts: of structured ones the share of each group's channels
            that the budget takes away, of element-wise ones the share of zeros; 0 is not cut.
        seed: of the training.
    """

    task: str
    method: str
    level: float
    seed: int

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return DATA / self.task / f"{self.method}-{self.level:g}-{self.seed}.json"


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        cell: it.
        accuracy, low, high: the metric of the deployed artefact with its 95 % interval.
        difference, difference_low, difference_high: less the float original, paired.
        parameters: weights and biases of the artefact that are not 0.
        parameters_left: over those of the original.
        flash_bytes, ram_bytes, latency_s, energy_j: estimated, generated C on the board.
        tflite_bytes: of the artefact.
        train_s: seconds of compressing and training.
        digest: of the settings that the figures depend on.
        origin: digest of the original's weights and of packages' versions.
        machine: where it ran.
    """

    cell: Cell
    accuracy: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    parameters: int
    parameters_left: float
    flash_bytes: int
    ram_bytes: int
    latency_s: float
    energy_j: float
    tflite_bytes: int
    train_s: float
    digest: str
    origin: str
    machine: str


def load(cell: Cell) -> Outcome | None:
    """The cell as kept, None if it was not measured."""
    if not cell.path.is_file():
        return None
    found = json.loads(cell.path.read_text())
    return Outcome(**(found | {"cell": Cell(**found["cell"])}))


def kept() -> Iterator[Outcome]:
    """All that were measured."""
    for path in sorted(DATA.glob("*/*.json")):
        found = json.loads(path.read_text())
        yield Outcome(**(found | {"cell": Cell(**found["cell"])}))


def keep(outcome: Outcome) -> None:
    """Writes it, whole or not at all."""
    path = outcome.cell.path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(outcome), indent=1) + "\n")
    part.replace(path)


def digest(*parts: Any) -> str:
    """Of anything that JSON has words for."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def machine() -> str:
    """The processor and the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {platform.system()}"
