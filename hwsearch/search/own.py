"""Owning a search: one process creates the study, offers it to workers, and decides its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from optuna.samplers import BaseSampler

from hwsearch.candidate import Trained
from hwsearch.search import children
from hwsearch.search.disk import Disk
from hwsearch.search.lease import Leases
from hwsearch.search.loop import Search, Train
from hwsearch.search.offer import Artefacts, Offer
from hwsearch.search.storage import Storage
from hwsearch.search.study import check_same, local, locked, open_study, stored
from hwsearch.search.task import Task
from hwsearch.search.training import TRAINED

SPEC = "search.json"
"""What the search is of whose trainings are in a directory."""


@dataclass(frozen=True)
class Owned:
    """A study that this process owns.

    Attributes:
        task: what it searches.
        storage: the durable study.
        leases: this process's.
    """

    task: Task
    storage: Storage
    leases: Leases

    def search(
        self,
        sampler: Callable[[int], BaseSampler],
        waiting: Sequence[Mapping[str, int]],
        on_trained: Callable[[Trained, Mapping[str, float]], None],
        on_change: Callable[[Search], None],
        *,
        store: Artefacts | None = None,
        train: Train = children.run,
    ) -> Search:
        """Opens the search for workers and takes in what was told before.

        Args:
            sampler: gives a sampler; called with how many trials there are, by a worker with a
                number of its own. It is sent to workers by cloudpickle.
            waiting: params of trials that a new study begins with.
            on_trained, on_change, store, train: see :class:`Search`.

        Raises:
            StudyError: the database or the store does not answer.
        """
        offer = Offer.of(self.task, sampler, store)
        self.storage.start(self.task.trials, offer.dump(), waiting)
        made = sampler(self.storage.told())
        cache = self.task.cache
        disk = None if cache is None else Disk(self.task.directory / TRAINED, cache.most_bytes)
        search = Search(
            self.task, self.storage, self.leases, made, on_trained, on_change, train, store, disk
        )
        search.resume()
        return search


@contextmanager
def owned(task: Task, spec: Mapping[str, Any], url: str | None = None) -> Iterator[Owned]:
    """A study, new or gone on with, that no other process may own until the block is left.

    Args:
        task: its name and directory say which.
        spec: what the search is of.
        url: of the database; default a file in the directory.

    Raises:
        StudyError: another process owns it, it cannot be read, or is of another search.
    """
    with locked(task.directory):
        path, wanted = task.directory / SPEC, json.dumps(spec)
        if path.is_file():  # whichever database knows of it, its trainings are in the directory
            check_same(f"study {task.name!r}", json.loads(path.read_text()), json.loads(wanted))
        where = url or local(task.directory)
        storage = open_study(where, task.name, task.directions(), spec, stored(task.pricing.ranks))
        with closing(storage.base):
            part = path.with_suffix(".part")
            part.write_text(wanted)
            part.replace(path)
            leases = Leases(storage)
            leases.own()
            with leases:
                yield Owned(task, storage, leases)
