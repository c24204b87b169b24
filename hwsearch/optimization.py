"""optimize(): the one file that knows every step of a search; it calls, it computes nothing."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsearch.arguments import aim, check_counts, check_seconds
from hwsearch.artefacts import RunArtefacts
from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.errors import InputError, SpaceError
from hwsearch.identity import digest
from hwsearch.metric import Metric, Mode
from hwsearch.mlflow_client import preload
from hwsearch.objectives import cost_names
from hwsearch.objectives import objectives as objectives_of
from hwsearch.outcome import outcome
from hwsearch.pareto import choose
from hwsearch.problem import Given, Problem, custom_objects, problem
from hwsearch.progress import Progress
from hwsearch.report import Report
from hwsearch.search import carried, children
from hwsearch.search.bootstrap import bootstrap
from hwsearch.search.cache import CACHE, Cache
from hwsearch.search.loop import Search
from hwsearch.search.own import owned
from hwsearch.search.resident import parse_bytes, share_of
from hwsearch.search.sampler import check, starts
from hwsearch.search.sampler import sampler as sampler_of
from hwsearch.search.task import Task
from hwsearch.space import Space
from hwsearch.track import Tracker
from hwsearch.tuner.hypermodels import is_hypermodel, search_hypermodel

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

TOLERANCE = 0.01
CACHE_SIZE = "2 GiB"


def optimize(
    model: Any,
    budget: Budget | str,
    data: Any = None,
    validation_data: Any = None,
    test_data: Any = None,
    *,
    board: str | Board | None = None,
    loss: Any = None,
    metric: Any = None,
    mode: Mode | None = None,
    objectives: Sequence[str] | None = None,
    sampler: str | BaseSampler = "front",
    trials: int = 40,
    timeout: float | None = None,
    trial_timeout: float | None = 1800,
    patience: int | None = None,
    tolerance: float = TOLERANCE,
    workers: int = 1,
    memory: int | str | None = None,
    cache: int | str = CACHE_SIZE,
    study: str | None = None,
    storage: str | None = None,
    backends: Sequence[str] | str | None = None,
    space: Space | str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    directory: str | Path = "mlruns",
    tracking_uri: str | None = None,
    fit: Mapping[str, Any] | None = None,
) -> Report:
    """Searches pruning ratios, bit widths and the runtime for models that keep the budget.

    Args:
        model: a trained Keras 3 model (functional or Sequential), or the path of a ``.keras`` or
            ``.h5`` file; or a hypermodel, a function of KerasTuner's ``hp`` that gives a compiled
            model, or a ``keras_tuner.HyperModel``: then architectures are searched too, one
            trial a fitted model, see :class:`hwsearch.HardwareTuner`.
        budget: the limits; or a board's name alone: that board's own flash and RAM.
        data: ``(x, y)`` to fine-tune and calibrate on: arrays, tuples or dicts of arrays, or a
            finite ``tf.data.Dataset``. Without it the model is scored by agreement with the
            original on generated inputs, and not fine-tuned.
        validation_data: to search on; half of it is kept aside for the report unless
            ``test_data`` is given. Default: a fifth of ``data``.
        test_data: to report on.
        board: a name of the catalogue or a :class:`Board`. Default: a generic Cortex-M4, sizes
            and cycles only.
        loss, metric, mode: default to what the model was compiled with.
        objectives: what to optimise: one to four of ``"accuracy"`` (the metric, whichever it is),
            ``"flash"``, ``"ram"``, ``"latency"``, ``"energy"``. Default: accuracy and what the
            budget limits. Limits hold whether or not they are objectives.
        sampler: ``"front"`` (:class:`hwsearch.FrontSampler`), ``"tpe"``, ``"nsga2"``,
            ``"nsga3"``, ``"random"``, ``"grid"``, or an Optuna sampler of your own.
        trials: trainings, promotions (``Space.rungs``) among them; what is over budget costs none.
        timeout: seconds after which no training is begun and those at work are given up; the
            next call with the same ``study`` trains them anew. A hypermodel's ``fit`` at work ends
            by itself. What is reported is verified after
            that, and with ``Space.rungs`` up to six finalists are trained to the last rung first.
        trial_timeout: seconds after which one training is given up; it counts as failed. A
            longer rung's has more, in proportion to its epochs.
        patience: the search ends when the hypervolume grew by less than ``tolerance``, a share of
            itself, over so many trials; its reference point is the limits and the floor of the
            metric (the worst metric seen where there is none). None never ends it so.
        tolerance: see ``patience``.
        workers: trainings at once; TensorFlow's threads are divided among them.
        memory: that each training may hold, in bytes or as ``"4 GiB"``; one that holds more is
            ended and counts as failed. Default: the machine's memory, shared out.
        cache: that fine-tuned networks may take on disk in ``directory/cache``, for other
            searches of the same model and data; and the artefacts of this one beside its front's.
        study: a name; the same call with the same name goes on where it stopped. Default: a
            name of the model's and the arguments' digest.
        storage: the address of a database that workers on other machines can reach,
            e.g. ``"postgresql+psycopg://user@host/database"``; ``hwsearch worker`` joins a search
            there. Default: a file in ``directory``.
        backends: runtimes to choose from. Default: all whose artefacts can be proven here.
        space: what may vary; a :class:`Space`, a preset's name such as ``"cnn"``, or the path
            of a TOML file.
        seed: of every draw.
        device: where finalists run, as in :func:`hwsearch.verify`; default the emulated core
            nearest to the board's.
        directory: where studies, artefacts and MLflow's database lie.
        tracking_uri: of an MLflow server; default a database in ``directory``.
        fit: keyword arguments of ``fit`` for a hypermodel's models.

    Returns:
        A :class:`Report`: the Pareto front, the chosen model, or the nearest miss.

    Raises:
        InputError: one of its kinds says which argument cannot be meant and what to give.
        StudyError: the study cannot be read, or is of another search.
        RefusedError: no backend runs the model.
        BudgetError: no backend can tell a cost that is limited or optimised.
    """
    started = time.monotonic()
    check_counts(1, trials=trials, workers=workers, patience=1 if patience is None else patience)
    check_counts(0, seed=seed)
    check_seconds(timeout=timeout, trial_timeout=trial_timeout)
    if not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        raise InputError(f"tolerance={tolerance!r} is no share. Give 0 to below 1, e.g. 0.01.")
    if (study is not None and not re.fullmatch(r"[\w .+-]+", study)) or study in (".", ".."):
        raise InputError(f"study={study!r} cannot name a folder. Use letters, digits, - and _.")
    chosen = aim(budget, board, device, backends, space)
    on, limits, where = chosen.board, chosen.budget, chosen.device
    if data is None and chosen.space is not None and chosen.space.rungs:
        raise SpaceError(
            f"rungs={chosen.space.rungs} promote fine-tunes, and without data nothing is "
            "fine-tuned. Give data=(x, y), or leave Space.rungs out."
        )
    goals = objectives_of(objectives, limits)
    warning = check(sampler, goals)
    held_bytes = share_of(workers) if memory is None else parse_bytes("memory", memory)
    cache_bytes = parse_bytes("cache", cache)
    children.start()
    loading = preload()
    varied = chosen.backends, chosen.space
    given = Given(data, validation_data, test_data, loss, metric, mode, *varied, seed)
    if is_hypermodel(model):
        others = {"workers": workers > 1, "storage": bool(storage), "memory": memory is not None}
        others |= {"patience": patience is not None, "objectives": objectives is not None}
        others |= {"sampler": sampler != "front", "tolerance": tolerance != TOLERANCE}
        others |= {"cache": cache != CACHE_SIZE}
        if unmeant := [f"{name}=" for name, given_too in others.items() if given_too]:
            raise InputError(
                "a hypermodel's models are fitted one by one in this process, for one objective, "
                f"and their files stay with their trials: leave {', '.join(unmeant)} out."
            )
        loading.join()
        return search_hypermodel(
            model, on, limits, given, fit=fit, trials=trials, timeout=timeout,
            trial_timeout=trial_timeout, study=study, device=where, directory=Path(directory),
            tracking_uri=tracking_uri,
        )  # fmt: skip
    if fit is not None:
        raise InputError("fit= is for hypermodels; a trained model is fine-tuned as space= says.")
    found = problem(model, on, given)
    pricing, left_out = found.pricing.within(limits).knowing({*limits.limits, *cost_names(goals)})
    found = replace(found, pricing=pricing, notes=(*found.notes, *left_out))
    spec = _spec(found, limits, on, seed) | {"objectives": list(goals)}
    name = study or f"{found.model.name}-{digest(spec)}"
    home = Path(directory) / "studies" / name
    tracker = Tracker(tracking_uri, "hwsearch", name, Path(directory))
    loading.join()
    lineage = digest([spec["model"], spec["data"][0], spec["goal"][0]], 32)
    kept = Cache((Path(directory) / CACHE).absolute(), cache_bytes)
    task = Task(
        directory=home.absolute(),
        name=name,
        pricing=found.pricing,
        budget=limits,
        space=found.space,
        op_indexes=found.op_indexes,
        mode=found.metric.mode,
        objectives=goals,
        sampler=sampler,
        original=found.baseline,
        loss=carried.dumps(found.loss),
        metric=carried.dumps(found.metric),
        custom_objects=carried.dumps(custom_objects(found.model)),
        trials=trials,
        timeout_s=timeout,
        trial_timeout_s=trial_timeout,
        patience=patience,
        tolerance=tolerance,
        workers=workers,
        threads=max(1, (os.cpu_count() or 1) // workers),
        seed=seed,
        memory_bytes=held_bytes,
        cache=kept,
        lineage=lineage,
    )
    with owned(task, spec, storage) as study_owned:
        found.save(home)
        ranks = found.pricing.ranks
        tracker.start(_params(spec, task, found.metric), {"hwsearch.board": on.name}, ranks.layout)
        with Progress(trials, timeout) as progress:
            for note in (*found.notes, *([warning] if warning else [])):
                progress.say(f"hwsearch: {note}")
            begun = starts(sampler, trials)
            screened = bootstrap(found.pricing, limits, seed, max(1, begun))
            logged = tracker.logged()
            shared = storage is not None and (tracking_uri or "").startswith("http")
            search = study_owned.search(
                partial(sampler_of, task),
                [ranks.names(row) for row in screened.feasible[:begun]],
                tracker.trial,
                lambda s: _show(progress, s, found),
                store=RunArtefacts(str(tracking_uri), name) if shared else None,
            )
            search.call_back(logged)
            if len(screened.feasible) or screened.excess <= 0:
                search.run()
            report = outcome(found, task, search, screened, started, where)
        report = replace(report, tracking=tracker.link())
        tracker.finish(report, search.rejected)
        report.save(home / "report.json")
    return report


def _spec(found: Problem, budget: Budget, board: Board, seed: int) -> dict[str, Any]:
    """What a study is of: a study of this name with another is refused."""
    return {
        "model": found.digest(),
        "data": [found.train.digest, found.search.digest, found.report.digest],
        "budget": asdict(budget),
        "board": board.name,
        "goal": found.goal(),
        "backends": [b.name for b in found.pricing.ranks.backends],
        "space": asdict(found.space),
        "seed": seed,
    }


def _params(spec: dict[str, Any], task: Task, metric: Metric) -> dict[str, object]:
    limits = {f"budget.{k}": v for k, v in spec["budget"].items() if v is not None}
    return {
        "metric": metric.name,
        "mode": metric.mode,
        "objectives": " ".join(task.objectives),
        "sampler": task.sampler if isinstance(task.sampler, str) else type(task.sampler).__name__,
        "trials": task.trials,
        "board": spec["board"],
        "backends": " ".join(spec["backends"]),
        "seed": spec["seed"],
        **limits,
    }


def _show(progress: Progress, search: Search, found: Problem) -> None:
    best = choose(search.known.front, found.metric.mode, search.task.budget)
    flash = 0 if best is None else best.candidate.cost.flash_bytes or 0
    text = (
        ""
        if best is None
        else f"{found.metric.name} {best.score.value:.4g}, {flash / 1024:.0f} KiB"
    )
    counts = search.known.counts
    progress.show(done=counts.evaluated, rejected=counts.rejected, best=text, failed=counts.failed)
