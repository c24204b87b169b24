"""Kills at random moments; `make bench-search-kills` does fifty."""

from __future__ import annotations

from pathlib import Path

import pytest
from search.kills import Scene, check, kill_at_random, mlflow_server
from search.postgres import Postgres


def test_a_killed_worker_database_and_owner_lose_nothing(
    postgres: Postgres, tmp_path: Path
) -> None:
    scene = Scene(postgres.make("three_kills"), tmp_path, trials=60, seconds=0.3)
    said = kill_at_random(scene, ("worker", "postgres", "owner"), 3, postgres, None, seed=1)
    assert sum(scene.killed.values()) == 3
    check(scene, said)


def test_promotions_outlive_kills_and_are_made_once(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWSEARCH_REPLAY_RUNGS", "2,4")
    scene = Scene(postgres.make("promotions"), tmp_path, trials=40, seconds=0.2)
    said = kill_at_random(scene, ("worker", "owner"), 2, postgres, None, seed=3)
    assert sum(scene.killed.values()) == 2
    assert check(scene, said)["promoted"] >= 5


@pytest.mark.slow
def test_five_kills_with_mlflow_reconciled(postgres: Postgres, tmp_path: Path) -> None:
    with mlflow_server() as server:
        scene = Scene(postgres.make("five_kills"), tmp_path, 80, 0.3, server.uri)
        kinds = ("worker", "mlflow", "owner", "postgres", "owner")
        said = kill_at_random(scene, kinds, 5, postgres, server, seed=2)
        assert sum(scene.killed.values()) == 5
        assert check(scene, said)["MLflow runs"] > 80
