"""The address that opens a search in MLflow's page, and the view behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hwsearch import links


@pytest.mark.parametrize(
    ("mode", "objectives", "key", "ascending"),
    [
        ("max", (), "error", False),
        ("min", ("metric", "flash_bytes"), "error", True),
        ("max", ("energy_j", "ram_bytes"), "energy_j", True),
    ],
)
def test_the_view_is_sorted_by_the_first_objective(
    mode: Any, objectives: tuple[str, ...], key: str, ascending: bool
) -> None:
    state = json.loads(json.loads(links.view("s", "error", mode, objectives)[1])["state"])
    assert state["orderByKey"] == f"metrics.`{key}`" and state["orderByAsc"] is ascending
    wanted = {"error", "flash_bytes", "ram_bytes", "latency_s", *objectives} - {"metric"}
    columns = state["selectedColumns"]
    assert columns == list(dict.fromkeys(columns)), "each once"
    assert set(columns) == {"params.`backend`", *(f"metrics.`{name}`" for name in wanted)}


def test_a_database_is_served_from_its_folder() -> None:
    then = f", then {links.page(links.LOCAL, '1', 's')}"
    local = links.link("sqlite:////home/me/my runs/mlflow.db", "1", "s")
    assert local == f"hwsearch ui --directory '/home/me/my runs'{then}"
    other = links.link("sqlite:////home/me/other.db", "1", "s")
    assert other == f"hwsearch ui --tracking-uri sqlite:////home/me/other.db{then}"
    assert links.link("http://host:5000", "1", "s") == links.page("http://host:5000", "1", "s")


def test_a_password_in_the_address_is_never_shown() -> None:
    link = links.link("postgresql://user:secret@host/db", "1", "s")
    assert "secret" not in link and "host/db" in link
