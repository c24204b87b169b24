"""Joining a search from another process or machine: the same loop, without being its owner."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from hwsearch.errors import StudyError
from hwsearch.search import carried, children
from hwsearch.search.database import Database, searches, studies
from hwsearch.search.lease import Leases
from hwsearch.search.loop import Search, Train
from hwsearch.search.offer import Artefacts, Offer
from hwsearch.search.resident import share_of
from hwsearch.search.storage import Storage
from hwsearch.search.study import OWNED, stored
from hwsearch.search.task import Task


@contextmanager
def joined(
    url: str,
    name: str,
    directory: Path | None = None,
    workers: int = 1,
    memory_bytes: int | None = None,
    store: Callable[[str, str], Artefacts] | None = None,
    on_change: Callable[[Search], None] = lambda search: None,
    train: Train = children.run,
) -> Iterator[Search]:
    """A worker's search, ready to run; its trials are given back when the block is left.

    Args:
        url: of the database.
        name: of the study.
        directory: that ``optimize`` was given, as this machine sees it. Default: the owner's own
            path where model and data are there, else ``mlruns``.
        workers: trainings at once.
        memory_bytes: that each may hold. Default: this machine's, shared out.
        store: makes the store of artefacts from its address and the study's name.
        on_change: called after each ask.
        train: runs a job.

    Raises:
        StudyError: no such database, study or offer; model or data are not to be had.
    """
    with closing(Database(url)) as base:
        base.check()
        study_id, content = _offered(base, name)
        offer = Offer.load(content)
        shared = store(offer.artefacts, name) if offer.artefacts and store else None
        home = _home(offer, name, directory)
        if (home / OWNED).exists():  # the owner's own, on a disk that both see
            shared = None
        task: Task = replace(
            offer.here(home, shared),
            workers=workers,
            threads=max(1, (os.cpu_count() or 1) // workers),
            memory_bytes=memory_bytes or share_of(workers),
            timeout_s=None,
            cache=offer.cache(home),
        )
        storage = Storage(base, study_id, stored(task.pricing.ranks))
        with Leases(storage) as leases:
            sampler = carried.loads(offer.sampler)(int(leases.holder[:7], 16))
            search = Search(
                task, storage, leases, sampler, lambda trained, excess: None, on_change,
                train, shared,
            )  # fmt: skip
            search.resume()
            yield search


def _offered(base: Database, name: str) -> tuple[int, bytes]:
    """(study id, offer) of an open search.

    Raises:
        StudyError: there is none of this name; lists those there are.
    """
    ask = sa.select(studies.c.study_name, studies.c.study_id, searches.c.state, searches.c.task)
    same = studies.c.study_id == searches.c.study_id
    rows = base.read(lambda c: c.execute(ask.join_from(studies, searches, same)).all())
    known = {row.study_name: row for row in rows}
    if name not in known:
        raise StudyError(
            f"there is no study {name!r} in {base.name}. Known: "
            f"{', '.join(sorted(known)) or '(none)'}."
        )
    if known[name].state != "open":
        raise StudyError(
            f"the search {name!r} is {known[name].state}: it needs no worker. Call "
            "hwsearch.optimize with more trials first."
        )
    return known[name].study_id, bytes(known[name].task)


def _home(offer: Offer, name: str, directory: Path | None) -> Path:
    """Where this machine keeps the study's files."""
    if directory is not None:
        return directory / "studies" / name
    theirs = offer.task.directory
    return theirs if (theirs / OWNED).exists() else Path("mlruns") / "studies" / name
