"""A search task whose pricing needs no Keras: a dense network with one channel group, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from hwsearch.pricing import Pricing, Scheme, layout
from hwsearch.search.lease import Leases
from hwsearch.search.loop import Search
from hwsearch.search.sampler import tpe
from hwsearch.search.study import local, open_study
from hwsearch.search.task import Task
from hwsearch.space import Ranks, Space

WIDTH = 32


def pricing(space: Space) -> Pricing:
    """A network 16 → 32 → 10 whose hidden width is the group ``"hidden"``."""
    network = Network(np.random.default_rng(0))
    x = network.input((1, 16))
    x = network.dense(x, WIDTH, activation="relu")
    graph = read(network.finish(network.dense(x, 10))).graph
    rank = 4
    base = np.array([[1] * (rank - len(t.shape)) + list(t.shape) for t in graph.tensors])
    places = np.flatnonzero(base.reshape(-1) == WIDTH)
    ones = np.ones(len(places), np.int64)
    binding = Binding(
        groups=("hidden",),
        widths=np.array([WIDTH]),
        least=np.array([1]),
        base=base,
        sizes=np.array([[0, 1]]),
        places=places,
        rows=ones * 0,
        factors=ones,
    )
    found, indexes = layout(binding, graph)
    weights = np.array([graph.ops[i].inputs[1] for i in indexes])
    ranks = Ranks(space, found, (backend("tflm"), backend("tflm-cmsis-nn")))
    return Pricing(board("nucleo-l4r5zi"), ranks, {8: Scheme(graph, binding, weights)})


@contextmanager
def searching(
    task: Task, spec: dict[str, object] | None = None, url: str = "", **more: Any
) -> Iterator[Search]:
    """A search of the task as its owner, with a database in its directory unless told where."""
    url, parameters = url or local(task.directory), task.pricing.ranks.parameters
    storage = open_study(url, task.name, task.directions(), spec or {}, parameters)
    leases = Leases(storage)
    leases.own()
    with leases:
        storage.start(task.trials, b"", [])
        given = {"on_trained": lambda trained, excess: None, "on_change": lambda search: None}
        search = Search(task, storage, leases, tpe(0, storage.told()), **(given | more))
        search.resume()
        yield search


def trials(task: Task, url: str = "") -> list[FrozenTrial]:
    """What Optuna itself reads of the task's study."""
    return optuna.load_study(
        study_name=task.name, storage=url or local(task.directory)
    ).get_trials()


def task(directory: Path, budget: Budget, trials: int) -> Task:
    """A task over it; its directory holds no model, so every training fails."""
    space = Space(activation_bits=(8,))
    return Task(
        directory=directory,
        name="by-hand",
        pricing=pricing(space),
        budget=budget,
        space=space,
        op_indexes=(0, 1),
        mode="max",
        loss=cloudpickle.dumps("mse"),
        metric=cloudpickle.dumps(None),
        custom_objects=cloudpickle.dumps({}),
        trials=trials,
        timeout_s=None,
        trial_timeout_s=60,
        workers=1,
        threads=1,
        seed=0,
    )
