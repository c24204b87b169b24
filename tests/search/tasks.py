"""A search task whose pricing needs no Keras: a dense network with one channel group, by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import optuna
from optuna.trial import FrozenTrial
from tflite_network import Network

from hwsearch.backends import backend
from hwsearch.board import board
from hwsearch.budget import Budget
from hwsearch.graph.binding import Binding
from hwsearch.graph.tflite import read
from hwsearch.objectives import objectives
from hwsearch.pricing import Pricing, Scheme, layout
from hwsearch.ranks import Ranks
from hwsearch.search.database import Database
from hwsearch.search.loop import Search
from hwsearch.search.own import owned
from hwsearch.search.sampler import sampler
from hwsearch.search.study import local
from hwsearch.search.task import Task
from hwsearch.space import Space

WIDTHS = (32,)


def pricing(space: Space, widths: tuple[int, ...] = WIDTHS) -> Pricing:
    """A dense network 16 → widths → 10; each hidden width is a group. They must differ."""
    network = Network(np.random.default_rng(0))
    x = network.input((1, 16))
    for width in widths:
        x = network.dense(x, width, activation="relu")
    graph = read(network.finish(network.dense(x, 10))).graph
    rank = 4
    base = np.array([[1] * (rank - len(t.shape)) + list(t.shape) for t in graph.tensors])
    flat = base.reshape(-1)
    places = np.flatnonzero(np.isin(flat, widths))
    binding = Binding(
        groups=tuple(f"hidden{i}" for i in range(len(widths))),
        widths=np.array(widths),
        least=np.ones(len(widths), np.int64),
        base=base,
        sizes=np.concatenate(
            [np.zeros((len(widths), 1), np.int64), np.eye(len(widths), dtype=np.int64)], axis=1
        ),
        places=places,
        rows=np.array([widths.index(int(flat[p])) for p in places]),
        factors=np.ones(len(places), np.int64),
    )
    found, indexes = layout(binding, graph)
    weights = np.array([graph.ops[i].inputs[1] for i in indexes])
    ranks = Ranks(space, found, (backend("tflm"), backend("tflm-cmsis-nn")))
    return Pricing(board("nucleo-l4r5zi"), ranks, {8: Scheme(graph, binding, weights)})


@contextmanager
def searching(
    task: Task,
    spec: dict[str, object] | None = None,
    url: str = "",
    waiting: Sequence[Mapping[str, int]] = (),
    **more: Any,
) -> Iterator[Search]:
    """A search of the task as its owner, with a database in its directory unless told where."""
    given = {"on_trained": lambda trained, excess: None, "on_change": lambda search: None}
    with owned(task, spec or {}, url or None) as study:
        yield study.search(partial(sampler, task), waiting, **(given | more))


def trials(task: Task, url: str = "") -> list[FrozenTrial]:
    """What Optuna itself reads of the task's study."""
    with Database(url or local(task.directory)).optuna() as storage:
        return optuna.load_study(study_name=task.name, storage=storage).get_trials()


def task(directory: Path, budget: Budget, trials: int, widths: tuple[int, ...] = WIDTHS) -> Task:
    """A task over it; its directory holds no model, so every training fails."""
    space = Space(activation_bits=(8,), distillation=(0.5,))
    return Task(
        directory=directory,
        name="by-hand",
        pricing=pricing(space, widths),
        budget=budget,
        space=space,
        op_indexes=tuple(range(len(widths) + 1)),
        mode="max",
        objectives=objectives(None, budget),
        sampler="tpe",
        original=None,
        loss=cloudpickle.dumps("mse"),
        metric=cloudpickle.dumps(None),
        custom_objects=cloudpickle.dumps({}),
        trials=trials,
        timeout_s=None,
        trial_timeout_s=60,
        patience=None,
        tolerance=0.01,
        workers=1,
        threads=1,
        seed=0,
    )
