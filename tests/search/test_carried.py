"""User functions as bytes: what another process can make them from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hwsearch.search import carried


def test_a_module_under_two_names_is_carried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``__mp_main__`` is in processes that multiprocessing spawns."""
    (tmp_path / "users_own.py").write_text("def loss(y, p):\n    return abs(y - p)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import users_own

    monkeypatch.setitem(sys.modules, "users_own_again", users_own)
    content = carried.dumps(users_own.loss)
    monkeypatch.delitem(sys.modules, "users_own")
    monkeypatch.delitem(sys.modules, "users_own_again")
    (tmp_path / "users_own.py").unlink()
    assert carried.loads(content)(3, 5) == 2
