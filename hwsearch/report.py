"""Report: what a search found: the Pareto front, the model to deploy, or the nearest miss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.candidate import BoardFit, NearestMiss, Score, Trained, Verified
from hwsearch.choice import Choice
from hwsearch.cost.cost import COSTS
from hwsearch.errors import InputError, ModelFileError, UnknownNameError
from hwsearch.pareto import Mode, choose, pareto
from hwsearch.record import from_json, to_json

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Choice", "Report", "choose", "pareto"]

SCHEMA = 1
"""Version of the JSON that :meth:`Report.save` writes."""

FILE = "report.json"
"""Its name in the folder of a study or bundle."""


class Printed(str):
    """Text that was printed already: an interactive prompt does not echo it again."""

    def __repr__(self) -> str:
        return ""


@dataclass(frozen=True)
class Report:
    """What a search found.

    Attributes:
        study: its name.
        board, budget: what it was searched for; the budget with the board's own limits filled in.
        metric, mode: what was scored, and whether more is better.
        original: the float model on the report half.
        original_tflite_bytes: size of the unpruned model's own int8 ``.tflite``.
        finalists: every verified model inside the budget, in any order.
        winner: the one of them to deploy, None when nothing fits; users read :attr:`chosen`.
        nearest_miss: when nothing fits.
        asked: configurations that the sampler proposed.
        rejected: of these, how many were over budget and cost no training.
        screened: random points judged outside the study.
        trained: trainings.
        scored: leaves quantized and scored.
        failed: trials that crashed or timed out.
        disqualified: finalists that verification threw out, each with the reason.
        seconds: wall time of the search.
        interrupted: whether it was stopped before its trials or its time were used up.
        notes: what was said once: no data, frozen layers …
        history: every scored trial, in the order of their numbers.
        directory: where the artefacts lie.
        tracking: MLflow's link, or why there is none.
        objectives: what was optimised: ``"metric"`` and names of costs. Default: the metric and
            the budgeted costs, flash where none is.
        smallest: see :meth:`smallest_board`.
    """

    study: str
    board: Board
    budget: Budget
    metric: str
    mode: Mode
    original: Score
    original_tflite_bytes: int
    finalists: tuple[Verified, ...]
    winner: Verified | None
    nearest_miss: NearestMiss | None
    asked: int
    rejected: int
    screened: int
    trained: int
    scored: int
    failed: int
    disqualified: tuple[tuple[Verified, str], ...]
    seconds: float
    interrupted: bool
    notes: tuple[str, ...]
    history: tuple[Trained, ...]
    directory: Path
    tracking: str
    objectives: tuple[str, ...] = ()
    smallest: BoardFit | None = None

    def __post_init__(self) -> None:
        if not self.objectives:
            costs = tuple(self.budget.limits) or ("flash_bytes",)
            object.__setattr__(self, "objectives", ("metric", *costs))

    @cached_property
    def front(self) -> tuple[Choice, ...]:
        """The finalists that none beats in all objectives, best metric first.

        The metric is that of the report half; a cost is the measured one where there is one.
        """
        choices, names = [Choice(v, self) for v in self.finalists], self.objectives
        sign = -1 if self.mode == "max" else 1
        values = [
            [c.score.value if name == "metric" else _or(c.known(name), 0.0) for name in names]
            for c in choices
        ]
        directions: list[Mode] = [self.mode if name == "metric" else "min" for name in names]
        mask = pareto(np.array(values, np.float64).reshape(-1, len(directions)), directions)
        kept = [c for c, on_front in zip(choices, mask, strict=True) if on_front]
        return tuple(sorted(kept, key=lambda c: (sign * c.score.value, c.number)))

    @cached_property
    def chosen(self) -> Choice | None:
        """The model to deploy, None when nothing fits."""
        return None if self.winner is None else Choice(self.winner, self)

    @property
    def shown(self) -> tuple[Choice, ...]:
        """The front, and the chosen one where it is not on it; best metric first."""
        numbers = {c.number for c in self.front}
        extra = [] if self.chosen is None or self.chosen.number in numbers else [self.chosen]
        sign = -1 if self.mode == "max" else 1
        return tuple(sorted([*self.front, *extra], key=lambda c: (sign * c.score.value, c.number)))

    def trial(self, number: int) -> Choice:
        """A finalist by its trial number.

        Raises:
            UnknownNameError: no finalist has it; lists those there are.
        """
        for verified in self.finalists:
            if verified.trained.candidate.number == number:
                return Choice(verified, self)
        known = (str(v.trained.candidate.number) for v in self.finalists)
        raise UnknownNameError("finalist", number, known)

    def smallest_board(self) -> BoardFit | None:
        """The catalogue's smallest board, by RAM and then flash, on which the chosen model fits.

        By estimate, with the board's own flash and RAM as limits and those of the budget for
        latency and energy. Where nothing was chosen: on which some configuration of the space
        fits. None where there is no such board.
        """
        return self.smallest

    def table(self) -> str:
        """Prints the report as a table, fitted to the terminal; the same text is returned."""
        from hwsearch.table import print_table

        return Printed(print_table(self))

    def explain(self) -> str:
        """Why this model, which limit binds and at which operator, what more room would buy.

        When nothing fits: the nearest miss, its limit, by how much, and the operator behind it.
        """
        from hwsearch.explanation import explain

        return explain(self)

    def _repr_html_(self) -> str:
        from hwsearch.table import html_table

        return html_table(self)

    def plot(self, path: str | Path | None = None, what: str = "overview") -> Any:
        """A figure of the search; a notebook shows one that is the last value of a cell.

        Args:
            path: where to save it: one ``.png`` or ``.svg``; None saves nothing.
            what: ``"overview"``, the metric against each cost, and the progress; ``"pareto"``,
                every pair of objectives; ``"hypervolume"``; ``"estimate"``, against measurement;
                of the chosen model ``"memory"``, its arena's plan, and ``"operators"``.

        Returns:
            matplotlib.figure.Figure.

        Raises:
            UnknownNameError: no figure has this name.
            InputError: there is nothing to draw of it, or another suffix is asked for.
        """
        from hwsearch.figure import save
        from hwsearch.plot import draw

        figure = draw(self, what)
        if figure is None:
            raise InputError(
                f"there is no {what!r} to draw: it needs a chosen model whose artefact is at "
                "hand, or for 'estimate' a finalist that was measured."
            )
        if path is not None:
            save(figure, Path(path))
        return figure

    def html(self, path: str | Path) -> Path:
        """Writes the report with its figures as one file that opens offline; returns its path."""
        from hwsearch.page import page

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(self), encoding="utf-8")
        return path

    def to_dataframe(self) -> DataFrame:
        """One row a scored trial, by number: configuration, estimates, scores, measurements.

        Columns ``report_*`` and ``measured_*`` are NaN for trials that were not finalists.
        """
        import pandas as pd

        verified = {v.trained.candidate.number: v for v in self.finalists}
        rows = [self._row(t, verified.get(t.candidate.number)) for t in self.history]
        return pd.DataFrame(rows).set_index("trial") if rows else pd.DataFrame()

    def _row(self, trained: Trained, verified: Verified | None) -> dict[str, Any]:
        candidate, configuration = trained.candidate, trained.candidate.configuration
        row: dict[str, Any] = {
            "trial": candidate.number,
            "backend": configuration.backend,
            "activation_bits": configuration.activation_bits,
            "weight_bits": "-".join(map(str, configuration.weight_bits)),
            "widths": "-".join(map(str, configuration.widths)),
            "saliency": configuration.saliency,
            "schedule": configuration.schedule,
            "method": configuration.method,
            "distillation": configuration.distillation,
            "sparsity": configuration.sparsity,
            "clusters": configuration.clusters,
            "qat": configuration.qat,
            self.metric: trained.score.value,
            f"{self.metric}_without_qat": trained.plain.value if trained.plain else None,
            "macs": candidate.cost.macs,
            **{name: getattr(candidate.cost, name) for name in COSTS},
            "train_s": trained.train_s,
            "diverged": trained.diverged,
            "level": verified.level if verified else None,
            f"report_{self.metric}": verified.score.value if verified else None,
            "chosen": self.winner is not None
            and self.winner.trained.candidate.number == candidate.number,
        }
        measured = verified.measurement if verified else None
        for name in (*COSTS, "arena_bytes", "instructions", "cycles"):
            row[f"measured_{name}"] = getattr(measured, name) if measured else None
        return row

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON's types; keys are field names, with units; paths below
        :attr:`directory` are relative to it."""
        record = {"schema": SCHEMA, **to_json(self, self.directory)}
        return record | {"directory": self.directory.as_posix()}

    def save(self, path: str | Path) -> Path:
        """Writes :meth:`to_dict` as JSON; returns the path.

        Beside its artefacts it may be moved with them: its ``directory`` is ``"."`` there.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = self.to_dict()
        if path.parent.resolve() == self.directory.resolve():
            record["directory"] = "."
        path.write_text(as_text(record), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """What :meth:`save` wrote.

        Args:
            path: the file, or the folder that has it as ``report.json``: that of a finished
                study (``mlruns/studies/<name>``) or of an exported bundle. Where its
                ``directory`` is relative, artefacts lie relative to the file.

        Raises:
            ModelFileError: there is no report, or it cannot be read.
        """
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise ModelFileError(_no_report(path))
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ModelFileError(f"cannot read the report in {path}: {error}") from error
        if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
            raise ModelFileError(
                f"{path} is not a report of schema {SCHEMA}. Expected what Report.save wrote."
            )
        directory = path.parent / str(record.get("directory", "."))  # an absolute one stays
        report: Report = from_json(cls, record, directory)
        return replace(report, directory=directory)


def _no_report(path: Path) -> str:
    """Why there is none where one was looked for, and where there are some."""
    text, folder = f"there is no report in {path}.", path.parent
    if (folder / "study.db").exists():
        return f"{text} The search is not over: the same call of optimize goes on with it."
    found = sorted(p.parent for p in folder.glob(f"**/studies/*/{FILE}"))
    if found:
        return f"{text} Finished searches: {', '.join(p.as_posix() for p in found[:9])}"
    return f"{text} Expected the folder of a finished study, e.g. mlruns/studies/<name>."


def as_text(record: object) -> str:
    """JSON as all files of the project have it: indented, in the order given."""
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
