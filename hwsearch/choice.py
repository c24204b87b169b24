"""Choice: one deployable model of a Report, read as one thing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch.candidate import Level, Measurement, Score, Verified
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Cost, OpCost

if TYPE_CHECKING:
    from hwsearch.report import Report


@dataclass(frozen=True)
class Choice:
    """One deployable model of a report.

    Attributes:
        verified: the trial, with everything that is known of it.
        report: the report that it is in.
    """

    verified: Verified
    report: Report = field(repr=False, compare=False)

    @property
    def number(self) -> int:
        """Of the trial."""
        return self.verified.trained.candidate.number

    @property
    def tflite(self) -> Path:
        """The artefact."""
        return self.verified.trained.tflite

    @property
    def tflite_bytes(self) -> int | None:
        """Size of the artefact; None where the file is not at hand."""
        return self.tflite.stat().st_size if self.tflite.is_file() else None

    @property
    def score(self) -> Score:
        """The metric on data that the search never saw."""
        return self.verified.score

    @property
    def difference(self) -> Score:
        """The metric less that of the original float model, paired over the same samples."""
        return self.verified.difference

    @property
    def configuration(self) -> Configuration:
        """What was chosen."""
        return self.verified.trained.candidate.configuration

    @property
    def cost(self) -> Cost:
        """Estimated."""
        return self.verified.trained.candidate.cost

    @property
    def measurement(self) -> Measurement | None:
        """Measured; None at level ``"estimate"``."""
        return self.verified.measurement

    @property
    def level(self) -> Level:
        """How far it was proven."""
        return self.verified.level

    def known(self, cost: str) -> float | None:
        """A cost by name, in B, s or J: measured where it was, else estimated; None is unknown."""
        measured = getattr(self.measurement, cost, None)
        value = getattr(self.cost, cost) if measured is None else measured
        return None if value is None else float(value)

    def heaviest(self, cost: str) -> OpCost | None:
        """The operator with the largest share of a cost; see :func:`heaviest`."""
        return heaviest(self.cost, cost)

    def export(self, out: str | Path, port: str | None = None) -> Path:
        """Writes the bundle: ``.tflite``, C sources, a firmware project that ``make`` builds,
        report, model card, digests; see ``export.py``.

        Args:
            out: a folder.
            port: of the firmware project; default the board's own, else the emulated core's
                nearest to it.

        Raises:
            InputError: ``out`` exists and was not made by an export.
            UnknownNameError: no such port.
        """
        from hwsearch.export import export

        return export(self.verified, Path(out), self.report, port)


def heaviest(cost: Cost, name: str) -> OpCost | None:
    """The operator with the largest share of a cost: constants for flash, bytes alive for RAM,
    cycles for latency and energy. None where there is no break-down."""
    attribute = {"flash_bytes": "flash_bytes", "ram_bytes": "live_bytes"}.get(name, "cycles")
    known = [op for op in cost.ops if getattr(op, attribute) is not None]
    return max(known, key=lambda op: float(getattr(op, attribute)), default=None)
