"""Leases: who owns a study, which workers live, and whose trials have to be done by another.

A process bumps a counter every :data:`BEAT_S` seconds. Whoever watches judges by its own monotonic
clock how long a counter stood still, so clocks of machines may differ by any amount. On one
machine a process that has ended is known at once, by its id and start time.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from hwsearch.errors import StudyError
from hwsearch.search.database import leases
from hwsearch.search.storage import Storage

BEAT_S = 5.0
LEASE_S = 30.0
"""A counter that stood still for so long is a dead process's."""

OWNER = "owner"


class Leases:
    """The leases of one process on one study; kept alive by a thread within a ``with`` block.

    Args:
        storage: the study; its ``worker`` is set to the name of this process's lease.
        beat_s, lease_s: as the constants say.

    Attributes:
        mine: ids of the trials that this process works on; whoever begins one adds it.
        owns: whether this process owns the study.
        error: why the leases cannot be kept any more; None while they are.
    """

    def __init__(self, storage: Storage, beat_s: float = BEAT_S, lease_s: float = LEASE_S) -> None:
        self.storage, self.beat_s, self.lease_s = storage, beat_s, lease_s
        self.holder = storage.worker = uuid.uuid4().hex
        self.mine: set[int] = set()
        self.owns = False
        self.error: BaseException | None = None
        self._place = place()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="hwsearch-leases", daemon=True)
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._lost: set[int] = set()
        self._watched = time.monotonic()

    def __enter__(self) -> Self:
        self.join()
        self.watch()  # the dead of earlier sessions, at once where they were of this machine
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(StudyError):  # it is found standing still
            self.leave()

    def _keep(self) -> None:
        while not self._over.wait(self.beat_s):
            try:
                self.beat()
                self.watch()
            except BaseException as error:
                self.error = error
                return

    def own(self) -> None:
        """Takes the owner's lease; waits for ``lease_s`` where it may be a dead process's.

        Raises:
            StudyError: another process owns the study.
        """
        known = self._read().get(OWNER)
        if (known is None or self._is_vacant(known)) and self._put(OWNER, known):
            self.owns = True
            return
        raise StudyError(
            f"another search owns this study in {self.storage.base.name}. Wait for it, help it "
            "with `hwsearch worker`, or give study= another name."
        )

    def join(self) -> None:
        """Takes this worker's own lease: trials are begun under it."""
        self._put(self.holder, None)

    def beat(self) -> None:
        """Bumps the counters of this process.

        Raises:
            StudyError: another process took the study over, as this one was silent for too long.
        """
        mine = self._of(sa.update(leases)).where(leases.c.holder == self.holder)

        def work(c: sa.Connection) -> set[str]:
            c.execute(mine.values(beat=leases.c.beat + 1))
            held = self._of(sa.select(leases.c.role)).where(leases.c.holder == self.holder)
            return set(c.execute(held).scalars())

        held = self.storage.base.write(work)
        if self.holder not in held:  # taken for dead: its trials are another's by now
            self.join()
        if self.owns and OWNER not in held:
            raise StudyError(
                f"another search took this study over: nothing was heard of this one for "
                f"{self.lease_s:.0f} s. What was told is kept."
            )

    def watch(self) -> int:
        """Takes trials from dead workers, and those that this one began without knowing it.

        Of trials under its own lease that are not :attr:`mine` it lost the database's answer; they
        are given back when they are seen twice.

        Returns:
            How many trials were taken.
        """
        now = time.monotonic()
        if now - self._watched > 3 * self.beat_s:  # this process slept, or the database did
            self._seen.clear()
            self._lost.clear()
        self._watched = now
        held, taken = self._read(), 0
        running = self.storage.running()
        for worker in set(running.values()) - {self.holder}:
            known = held.get(worker)
            if self._is_dead(worker, known, now):
                trials = [i for i, name in running.items() if name == worker]
                taken += sum(self.storage.reap(i, worker) for i in trials)
                self._drop(worker)
        unknown = {i for i, w in running.items() if w == self.holder and i not in self.mine}
        for trial_id in unknown & self._lost:
            taken += self.storage.give_back(trial_id)
        self._lost = unknown
        return taken

    def leave(self) -> None:
        """Gives the leases of this process up."""
        mine = self._of(sa.delete(leases)).where(leases.c.holder == self.holder)
        self.storage.base.write(lambda c: c.execute(mine))
        self.owns = False

    def owned_elsewhere(self) -> bool:
        """Whether an owner's lease is there, and not known to be a dead process's."""
        known = self._read().get(OWNER)
        return known is not None and not self._is_dead(OWNER, known, time.monotonic())

    def _is_vacant(self, known: Any) -> bool:
        """Whether the owner's lease that was read stands still; waits for that."""
        end = time.monotonic() + self.lease_s
        while time.monotonic() < end and not is_gone(known.place):
            time.sleep(min(self.beat_s, self.lease_s) / 20)
            now = self._read().get(OWNER)
            if now is None or (now.holder, now.beat) != (known.holder, known.beat):
                return False
        return True

    def _is_dead(self, worker: str, known: Any, now: float) -> bool:
        if known is not None and is_gone(known.place):
            return True
        beat = None if known is None else int(known.beat)
        before, since = self._seen.get(worker, (-1, now))
        if before != beat:
            self._seen[worker] = (beat, now)
            return False
        return now - since > self.lease_s

    def _put(self, role: str, known: Any) -> bool:
        """Writes a lease over the one that was read; False if that has changed meanwhile."""
        row = {"holder": self.holder, "beat": 0, "place": self._place}

        def work(c: sa.Connection) -> bool:
            if known is None:
                c.execute(sa.insert(leases).values(
                    study_id=self.storage.study_id, role=role, **row
                ))  # fmt: skip
                return True
            same = self._of(sa.update(leases)).where(
                leases.c.role == role, leases.c.holder == known.holder, leases.c.beat == known.beat
            )
            return bool(c.execute(same.values(**row)).rowcount)

        try:
            return self.storage.base.write(work)
        except IntegrityError:
            return False

    def _drop(self, worker: str) -> None:
        chosen = self._of(sa.delete(leases)).where(leases.c.role == worker)
        self.storage.base.write(lambda c: c.execute(chosen))
        self._seen.pop(worker, None)

    def _read(self) -> dict[str, Any]:
        rows = self.storage.base.read(lambda c: c.execute(self._of(sa.select(leases))).all())
        return {row.role: row for row in rows}

    def _of(self, statement: Any) -> Any:
        return statement.where(leases.c.study_id == self.storage.study_id)


def place() -> str:
    """Where this process is: boot, process namespace, id, start time; "" where that is unknown."""
    machine = _machine()
    started = _started(os.getpid())
    return f"{machine} {os.getpid()} {started}" if machine and started else ""


def is_gone(where: str) -> bool:
    """Whether a process of this machine, as :func:`place` told it, has ended for certain."""
    parts = where.split()
    if len(parts) != 4 or " ".join(parts[:2]) != _machine():
        return False
    return _started(int(parts[2])) != parts[3]


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Clock ticks since boot at which a process began; "" if there is none, or a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
