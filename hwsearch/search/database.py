"""The database of studies: Optuna's own tables and two beside them, written in whole transactions.

Optuna makes and checks its schema, so that its tools read every study. Rows are written here and
not by its storage, for two reasons: what belongs together (a training's trials; a dead worker's
trial failed and enqueued again) is one transaction that a kill cannot halve, and a trial costs a
handful of statements however many parameters it has.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import optuna
import sqlalchemy as sa
from optuna.storages._rdb import models
from sqlalchemy.exc import DBAPIError, IntegrityError

from hwsearch.address import masked
from hwsearch.errors import InputError, StudyError
from hwsearch.lock import exclusive

T = TypeVar("T")

PATIENCE_S = 120.0
"""A database that went away is waited for so long: PostgreSQL restarts within seconds."""

START_S = 15.0
"""A database that does not answer yet is waited for so long: it may be starting with its users."""

_STARTING = ("refused", "starting up", "not yet accepting", "shutting down", "recovery mode",
             "server closed", "terminating connection")  # fmt: skip
"""Words of PostgreSQL's errors while it starts or stops."""

_FULL = ("disk", "full", "No space")
"""Words of errors that waiting does not mend."""

metadata = sa.MetaData()

searches = sa.Table(
    "hwsearch_searches",
    metadata,
    sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("trials", sa.Integer, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False),
    sa.Column("task", sa.LargeBinary, nullable=False),
)
"""A row a study: ``"open"``, ``"done"`` or ``"stopped"``; trials wanted; trials begun, failed ones
of this session included; what is searched, pickled. Whoever adds trials updates the row first, so
it is their lock: trial ids become visible in their order."""

leases = sa.Table(
    "hwsearch_leases",
    metadata,
    sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("role", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(64), nullable=False),
    sa.Column("beat", sa.Integer, nullable=False),
    sa.Column("place", sa.String(255), nullable=False),
)
"""Who lives: ``role`` is ``"owner"`` or a worker's name, ``beat`` a counter that it bumps."""

studies: sa.Table = models.StudyModel.__table__
trials: sa.Table = models.TrialModel.__table__
params: sa.Table = models.TrialParamModel.__table__
values: sa.Table = models.TrialValueModel.__table__
user_attributes: sa.Table = models.TrialUserAttributeModel.__table__
system_attributes: sa.Table = models.TrialSystemAttributeModel.__table__
VALUE = models.TrialValueModel.value_to_stored_repr
NUMBER = models.TrialValueModel.stored_repr_to_value


class Database:
    """One process's way to a database.

    Args:
        url: SQLAlchemy's, e.g. ``"sqlite:////home/me/study.db"`` or
            ``"postgresql+psycopg://me@host/studies"``.
        patience_s: how long a database that went away is waited for.
    """

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        self.url, self.name, self.patience_s = url, masked(url), patience_s
        try:
            self.is_sqlite = sa.make_url(url).get_backend_name() == "sqlite"
            self.engine = sa.create_engine(url, **self._options())
        except Exception as error:  # a malformed address, or no driver for it
            raise InputError(
                f"storage {self.name} cannot be used ({_words(error)}). Give an address as "
                '"postgresql+psycopg://user@host/database" or "sqlite:////path/study.db".'
            ) from None
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", _sqlite_begin)

    def make(self, work: Callable[[optuna.storages.RDBStorage], T]) -> T:
        """Does work with Optuna's storage, all tables made, one process at a time.

        Again, from its beginning, while the database starts: ``work`` looks first.

        Raises:
            StudyError: unreachable, or made by another version of Optuna.
        """

        def attempt() -> T:
            with self._alone(), self.optuna() as storage:
                metadata.create_all(self.engine)
                return work(storage)

        with self._said():
            return self._started(attempt)

    @contextlib.contextmanager
    def optuna(self, create: bool = True) -> Iterator[optuna.storages.RDBStorage]:
        """Optuna's own way to the same tables; makes those that are missing unless told not to."""
        options = self._options() | {"poolclass": sa.NullPool}
        storage = optuna.storages.RDBStorage(self.url, options, skip_table_creation=not create)
        try:
            yield storage
        finally:
            storage.remove_session()

    def check(self) -> None:
        """Nothing, if the tables are there and of this version.

        Raises:
            StudyError: unreachable, empty, or made by another version of Optuna.
        """
        file = sa.make_url(self.url).database if self.is_sqlite else None
        with self._said():
            is_missing = bool(file) and not Path(str(file)).is_file()  # connecting makes one
            if is_missing or not self._started(
                lambda: sa.inspect(self.engine).has_table(searches.name)
            ):
                raise StudyError(
                    f"there is no study in {self.name}. Start hwsearch.optimize(storage=…) first, "
                    "and give the worker the same address."
                )
            with self.optuna(create=False):
                pass

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Does work in one transaction; again, from its beginning, when the database went away.

        A commit whose answer was lost is done twice: ``work`` looks first.
        """
        return self._insist(lambda: self._write(work))

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Does work that only reads, on one state of the database."""
        return self._insist(lambda: self._read(work))

    def close(self) -> None:
        """Ends the connections."""
        self.engine.dispose()

    def _options(self) -> dict[str, object]:
        if self.is_sqlite:
            return {"connect_args": {"timeout": 60}}
        return {"pool_pre_ping": True}

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        with self.engine.connect().execution_options(hwsearch_writes=True) as connection:
            with connection.begin():
                return work(connection)

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        with self.engine.connect() as connection, connection.begin():
            return work(connection)

    def _insist(self, attempt: Callable[[], T]) -> T:
        end, pause = time.monotonic() + self.patience_s, 0.05
        while True:
            try:
                return attempt()
            except IntegrityError:
                raise
            except DBAPIError as error:
                lost = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
                lost = lost or error.connection_invalidated
                full = any(word in str(error.orig) for word in _FULL)
                if not lost or full or self.is_sqlite or time.monotonic() > end:
                    raise StudyError(
                        f"the study in {self.name} cannot be written or read: {_words(error)}. "
                        "Free disk space, or start the database; the same call goes on where "
                        "this one stopped."
                    ) from None
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _started(self, attempt: Callable[[], T]) -> T:
        """Its outcome; tried again for :data:`START_S` while the database only now starts."""
        end = time.monotonic() + START_S
        while True:
            try:
                return attempt()
            except Exception as error:  # Optuna's, with the driver's within
                words = _words(error)
                if time.monotonic() > end or not any(word in words for word in _STARTING):
                    raise
            time.sleep(0.5)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two creations at once crash: the second waits for the first."""
        if self.is_sqlite:
            with exclusive(Path(f"{self.engine.url.database}.lock")):
                yield
            return
        if self.engine.dialect.name != "postgresql":
            yield
            return
        with self.engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(7_461_025)))
            try:
                yield
            finally:
                with contextlib.suppress(DBAPIError):  # one that broke holds no lock any more
                    connection.execute(sa.select(sa.func.pg_advisory_unlock(7_461_025)))

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except StudyError:
            raise
        except Exception as error:  # SQLAlchemy's, the driver's, and Optuna's own
            raise StudyError(
                f"the study in {self.name} cannot be read ({_words(error)}). Is the database up, "
                "the address right, and of this version? Else give storage= or study= another."
            ) from None


def _words(error: BaseException) -> str:
    """An error in one line, without the address that drivers repeat."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    cause = getattr(cause, "orig", None) or cause
    lines = str(cause).strip().splitlines() or [""]
    return masked(f"{type(cause).__name__}: {lines[0][:300]}")


def _sqlite_connect(connection: object, record: object) -> None:
    """Transactions begin where SQLAlchemy says so; readers do not wait for the writer."""
    connection.isolation_level = None  # type: ignore[attr-defined]
    connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]


def _sqlite_begin(connection: sa.Connection) -> None:
    """A writer takes its lock at once: two that read first and write later would clash."""
    writes = connection.get_execution_options().get("hwsearch_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
