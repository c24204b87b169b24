"""What a study offers to workers elsewhere: its task, and where model and data are.

A worker unpickles the task, users' own functions in it, so it trusts whoever may write to the
database as it trusts the search's owner.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import cloudpickle
from optuna.samplers import BaseSampler

from hwsearch.errors import StudyError
from hwsearch.search import carried
from hwsearch.search.cache import CACHE, Cache
from hwsearch.search.task import Task
from hwsearch.search.training import TRAINED

MODEL, DATA = "model.keras", ("data/train", "data/search")
"""What trials read, below the study's directory."""


class Artefacts(Protocol):
    """A store of files that the machines of a search share, where they share no directory."""

    @property
    def address(self) -> str:
        """From which another process makes the same store; without passwords."""
        ...

    def get(self, path: str, directory: Path) -> None:
        """Fetches a file or folder of the store to the same path below a directory."""
        ...

    def put(self, path: str, directory: Path) -> None:
        """Stores a file or folder that lies at that path below a directory."""
        ...


@dataclass(frozen=True)
class Offer:
    """What the owner of a study tells workers.

    Attributes:
        task: what the owner does; its ``directory`` is the owner's.
        sampler: cloudpickled, gives a sampler; called with a number that no other worker has.
        files: by path below the directory the digest of what trials read.
        artefacts: address of the store that they are in; "" is the directory alone.
    """

    task: Task
    sampler: bytes
    files: Mapping[str, str]
    artefacts: str = ""

    @classmethod
    def of(
        cls,
        task: Task,
        sampler: Callable[[int], BaseSampler],
        store: Artefacts | None = None,
    ) -> Offer:
        """An offer of what lies in the task's directory, put into the store if there is one."""
        files = digests(task.directory)
        if store is not None:
            for path in (MODEL, *DATA):
                store.put(path, task.directory)
        return cls(task, carried.dumps(sampler), files, "" if store is None else store.address)

    def dump(self) -> bytes:
        """The offer as bytes: a line on the versions, then a pickle."""
        return json.dumps(_versions()).encode() + b"\n" + bytes(cloudpickle.dumps(self))

    @classmethod
    def load(cls, content: bytes) -> Offer:
        """What :meth:`dump` wrote.

        Raises:
            StudyError: no owner has offered anything yet, or one of other versions has.
        """
        head, _, body = content.partition(b"\n")
        if not body:
            raise StudyError("this study offers no work yet. Start hwsearch.optimize first.")
        theirs, ours = json.loads(head), _versions()
        if theirs != ours:
            said = ", ".join(f"{k} {theirs.get(k)} there, {ours[k]} here" for k in ours)
            raise StudyError(
                f"the search runs other versions ({said}). Install the same ones for the worker."
            )
        found: Offer = cloudpickle.loads(body)
        return found

    def here(self, directory: Path, store: Artefacts | None) -> Task:
        """The task with a directory of this machine, model and data in it.

        Args:
            directory: the study's here, shared with the owner or not.
            store: where there is one; what is missing is fetched from it.

        Raises:
            StudyError: model or data are not there, or not those of the search.
        """
        if self._wrong(directory) and store is not None:
            for path in (MODEL, *DATA):
                store.get(path, directory)
        wrong = self._wrong(directory)
        if wrong:
            raise StudyError(
                f"{directory} does not hold the search's model and data ({wrong}). Give "
                "--directory, the directory that the search's owner shares, or let it track to "
                "an MLflow server by tracking_uri=http://…: workers then fetch them there."
            )
        return replace(self.task, directory=directory.absolute())

    def cache(self, directory: Path) -> Cache | None:
        """The owner's cache, as it is here: beside the folder of studies."""
        if self.task.cache is None:
            return None
        return replace(self.task.cache, directory=directory.absolute().parents[1] / CACHE)

    def _wrong(self, directory: Path) -> str:
        """Which file is missing or another; "" if all are right."""
        for path, digest in self.files.items():
            if not (directory / path).is_file():
                return f"{path} is missing"
            if _digest(directory / path) != digest:
                return f"{path} has another digest"
        return ""


def digests(directory: Path) -> dict[str, str]:
    """By path below a study's directory the SHA-256 of model and data."""
    paths = [directory / MODEL, *(p for d in DATA for p in sorted((directory / d).rglob("*")))]
    return {p.relative_to(directory).as_posix(): _digest(p) for p in paths if p.is_file()}


def folder(structure: str) -> str:
    """Where below a study's directory, and in the store, a training's result lies."""
    return f"{TRAINED}/{structure}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:2]))
    return {"hwsearch": version("hwsearch"), "optuna": version("optuna"), "python": python}
