"""Fitted cycles per quantity, each set with where it is from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsearch.cost.kernels import CLASSES, QUANTITIES
from hwsearch.errors import ModelFileError

FORMAT = 1

ANY = "*"
"""Any core, runtime, version or kind of network, in Residuals."""


@dataclass(frozen=True)
class CoefficientSet:
    """Cycles per quantity of one (core, runtime, version).

    Attributes:
        core, runtime, version: what it holds for.
        boards: where the rows behind it were measured; empty when it is borrowed.
        date: of the data.
        rows, families: measurements of this very (core, runtime, version), and network families
            among them; 0 when it is borrowed from other cores and versions of the runtime.
        error: mean absolute relative error of whole networks whose family was left out of the
            fit; None where no network was.
        note: compiler, flags, and what is special.
        cycles: ``"<class>.<quantity>"`` to cycles; absent is 0.
    """

    core: str
    runtime: str
    version: str
    boards: tuple[str, ...]
    date: str
    rows: int
    families: int
    error: float | None
    note: str
    cycles: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def table(self) -> NDArray[np.float64]:
        """float64 [len(CLASSES), len(QUANTITIES)]: the coefficients as an array."""
        table = np.zeros((len(CLASSES), len(QUANTITIES)))
        for i, name in enumerate(CLASSES):
            for j, quantity in enumerate(QUANTITIES):
                table[i, j] = self.cycles.get(f"{name}.{quantity}", 0.0)
        return table


@dataclass(frozen=True)
class Residuals:
    """Quantiles of leave-one-family-out residuals of one (core, runtime, version, kind).

    Attributes:
        core, runtime, version, kind: what they hold for, or ANY.
        low, high: the truth lay in ``estimate * [1 + low, 1 + high]`` in 90 % of the cases.
        rows, families: how many they were taken from.
    """

    core: str
    runtime: str
    version: str
    kind: str
    low: float
    high: float
    rows: int
    families: int


@dataclass(frozen=True)
class Coefficients:
    """Every fitted set, and how well each did on families it had not seen."""

    sets: tuple[CoefficientSet, ...]
    residuals: tuple[Residuals, ...]

    @cached_property
    def by_name(self) -> dict[tuple[str, str, str], CoefficientSet]:
        """Sets by (core, runtime, version)."""
        return {(s.core, s.runtime, s.version): s for s in self.sets}

    @classmethod
    def load(cls, path: Path) -> Coefficients:
        """The coefficients in a file.

        Raises:
            ModelFileError: it cannot be read, or is of another format.
        """
        try:
            return cls.parse(path.read_text())
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{path} holds no coefficients: {error}. Write it with "
                f"'hwsearch calibrate --device URL --out {path}'."
            ) from error

    @classmethod
    def parse(cls, text: str) -> Coefficients:
        """The coefficients in this JSON."""
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']}, expected {FORMAT}")
        return cls(
            tuple(CoefficientSet(**{**s, "boards": tuple(s["boards"])}) for s in raw["sets"]),
            tuple(Residuals(**r) for r in raw["residuals"]),
        )

    def to_json(self) -> str:
        """The file's content: four significant digits, a set a line, so that diffs read."""
        sets = [json.dumps(_rounded(asdict(s))) for s in self.sets]
        residuals = [json.dumps(_rounded(asdict(r))) for r in self.residuals]
        return (
            f'{{"format": {FORMAT},\n"sets": [\n'
            + ",\n".join(sets)
            + '\n],\n"residuals": [\n'
            + ",\n".join(residuals)
            + "\n]}\n"
        )


def _rounded(value: object) -> object:
    """Floats to four significant digits, everywhere."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return value


VARIABLE = "HWSEARCH_COEFFICIENTS"
"""Environment variable: path of a file of ``hwsearch calibrate`` whose sets come before these."""


@cache
def shipped() -> Coefficients:
    """The coefficients that come with the package."""
    return Coefficients.parse(
        resources.files("hwsearch.cost").joinpath("coefficients.json").read_text()
    )


@cache
def known() -> Coefficients:
    """Those shipped, and before them the user's own, where VARIABLE names a file.

    Raises:
        ModelFileError: the file cannot be read.
    """
    path = os.environ.get(VARIABLE)
    return merged(shipped(), Coefficients.load(Path(path))) if path else shipped()


def merged(*parts: Coefficients) -> Coefficients:
    """All sets and residuals; of two for the same, the later."""
    sets = {(s.core, s.runtime, s.version): s for part in parts for s in part.sets}
    residuals = {
        (r.core, r.runtime, r.version, r.kind): r for part in parts for r in part.residuals
    }
    return Coefficients(tuple(sets.values()), tuple(residuals.values()))
