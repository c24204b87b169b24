"""The presets in search_spaces/ load, and each says something of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsearch import Space

PRESETS = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.toml"))


@pytest.mark.parametrize("path", PRESETS, ids=[path.stem for path in PRESETS])
def test_a_preset_loads(path: Path) -> None:
    assert Space.load(path) != Space()
    assert path.read_text().startswith(f"# {path.stem}:"), "the first line says what it is for"
    assert f"[{path.name}]({path.name})" in (path.parent / "README.md").read_text()
