"""Databases for the tests of the search: a sqlite file, and a real PostgreSQL."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from search.postgres import Postgres, binaries


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server; skipped where none is installed, unless CI says that it must be."""
    if binaries() is None:
        required = os.environ.get("HWSEARCH_REQUIRE_POSTGRES") == "1"
        (pytest.fail if required else pytest.skip)("no PostgreSQL server is installed here")
    server = Postgres()
    yield server
    server.end()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.make(f"t{uuid.uuid4().hex}")
