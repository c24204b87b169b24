"""A study by its name: opened or gone on with, owned by one search, and what its trials keep."""

from __future__ import annotations

import fcntl
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hwsearch.candidate import Candidate, Epoch, Score, Trained
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Cost
from hwsearch.errors import StudyError
from hwsearch.ranks import Parameter, Ranks
from hwsearch.record import from_json, to_json
from hwsearch.search.database import Database
from hwsearch.search.memory import Direction
from hwsearch.search.rows import REPEAT, RUNG
from hwsearch.search.storage import Storage

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

OWNED = "owner.lock"
"""File of a study's directory that its owner locks."""

SPEC = "hwsearch"
"""The study's attribute that says what it is of."""

OTHERWISE = (
    "Give study= another name, or the same arguments; to begin it anew, delete its folder too."
)
"""What to do where a study is of another search."""

RESULT = "result"
"""The trial's attribute that says what came of it."""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the study's directory: one owner at a time; a killed owner's hold ends with it.

    Raises:
        StudyError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / OWNED).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StudyError(
                f"another search owns {directory}. Wait for it, or give study= another name."
            ) from error
        yield


def local(directory: Path) -> str:
    """The address of the database in a study's directory: the default."""
    return f"sqlite:///{(directory / 'study.db').absolute().as_posix()}"


def open_study(
    url: str,
    name: str,
    directions: Sequence[Direction],
    spec: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
) -> Storage:
    """The study of this name, new or gone on with; its tables are made before any worker starts.

    Args:
        url: of the database, see :class:`Database`.
        name: of the study.
        directions: of each objective.
        spec: what the search is of; must be equal when a study is gone on with.
        distributions: of its trials' params, see :func:`stored`.

    Raises:
        StudyError: the database cannot be read, or the study is of another model, data, space or
            budget.
    """
    wanted = json.loads(json.dumps(spec))
    base = Database(url)

    def opened(storage: optuna.storages.RDBStorage) -> tuple[int, Mapping[str, Any]]:
        study = optuna.create_study(
            study_name=name, storage=storage, directions=directions, load_if_exists=True
        )
        if SPEC not in study.user_attrs:
            study.set_user_attr(SPEC, wanted)
        return study._study_id, study.user_attrs[SPEC]

    with ExitStack() as failing:
        failing.callback(base.close)
        study_id, known = base.make(opened)
        check_same(f"study {name!r}", known, wanted)
        failing.pop_all()
    return Storage(base, study_id, distributions)


def check_same(
    what: str, known: Mapping[str, Any], wanted: Mapping[str, Any], instead: str = OTHERWISE
) -> None:
    """Nothing, if a study is of the search that is wanted; both as JSON gives them.

    Args:
        what: the study, as the message names it.
        known, wanted: of what search it is, and is to be.
        instead: what to do where they differ.

    Raises:
        StudyError: it is of another; says in what they differ.
    """
    if known != wanted:
        keys = sorted(k for k in {*known, *wanted} if known.get(k) != wanted.get(k))
        difference = "; ".join(f"{k}: {known.get(k)} there, {wanted.get(k)} now" for k in keys)
        raise StudyError(f"{what} is of another search ({difference}). {instead}")


def distributions(parameters: Sequence[Parameter]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each parameter; one with a single choice is left out."""
    return {
        p.name: IntDistribution(0, p.choices - 1)
        if p.ordered
        else CategoricalDistribution(tuple(range(p.choices)))
        for p in parameters
        if p.choices > 1
    }


def stored(ranks: Ranks) -> dict[str, BaseDistribution]:
    """Distributions of a stored trial's params: its rung too, where there are several."""
    rungs = len(ranks.space.rungs)
    return distributions(ranks.parameters) | ({RUNG: IntDistribution(0, rungs)} if rungs else {})


def result(trained: Trained, directory: Path) -> dict[str, Any]:
    """What a scored trial keeps in the study; its cost is computed again when it is read."""
    configuration = trained.candidate.configuration
    return {
        "configuration": to_json(configuration),
        "structure": configuration.structure,
        "score": to_json(trained.score),
        "tflite": to_json(trained.tflite, directory),
        "curve": to_json(trained.curve),
        "train_s": trained.train_s,
        "notes": list(trained.notes),
        "plain": to_json(trained.plain),
        "diverged": trained.diverged,
    }


def configuration(trial: FrozenTrial) -> Configuration | None:
    """What a told trial was a score of; None for one that was never scored, or a repeat."""
    kept = trial.user_attrs.get(RESULT)
    if kept is None or trial.state != TrialState.COMPLETE or REPEAT in trial.user_attrs:
        return None
    found: Configuration = from_json(Configuration, kept["configuration"])
    return found


def trained(
    trial: FrozenTrial, cost: Callable[[Configuration], Cost], directory: Path
) -> Trained | None:
    """The Trained that a told trial keeps; None where :func:`configuration` is."""
    found = configuration(trial)
    if found is None:
        return None
    kept = trial.user_attrs[RESULT]
    return Trained(
        Candidate(trial.number, found, cost(found)),
        directory / kept["tflite"],
        from_json(Score, kept["score"]),
        from_json(tuple[Epoch, ...], kept["curve"]),
        float(kept["train_s"]),
        tuple(kept.get("notes", ())),
        from_json(Score | None, kept.get("plain")),
        bool(kept.get("diverged", False)),
    )
