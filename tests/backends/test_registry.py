"""Backends by name; those of plugins; a plugin that is broken."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

import pytest

from hwsearch import backends as registry
from hwsearch.errors import UnknownNameError


@dataclass(frozen=True)
class Other:
    name: str = "other"
    activation_bits: tuple[int, ...] = (8,)
    weight_bits: dict[str, tuple[int, ...]] = field(default_factory=dict)
    buildable: bool = False

    def refusals(self, graph):
        return []

    def ram(self, columns):
        raise NotImplementedError

    def flash(self, columns):
        raise NotImplementedError

    def cycles(self, columns, core):
        return None


OTHER = Other()
NAMELESS = object()


@pytest.fixture
def plugins(monkeypatch):
    """Entry points that an installed distribution would give; the registry looks again."""

    def install(**values: str) -> None:
        points = [EntryPoint(n, v, "hwsearch.backends") for n, v in values.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: points)
        registry.backends.cache_clear()

    yield install
    monkeypatch.undo()
    registry.backends.cache_clear()


def test_built_in_backends() -> None:
    known = registry.backends()
    assert {"tflm", "tflm-cmsis-nn"} <= set(known)
    assert all(name == backend.name for name, backend in known.items())
    assert registry.backend("tflm") is known["tflm"]


@pytest.mark.parametrize("name", sorted(registry.backends()))
def test_every_backend_has_what_the_protocol_asks(name: str) -> None:
    found = registry.backend(name)
    assert found.activation_bits and set(found.activation_bits) <= {8, 16}
    assert all(8 in bits for bits in found.weight_bits.values())
    assert isinstance(found.buildable, bool)
    for method in ("refusals", "ram", "flash", "cycles"):
        assert callable(getattr(found, method)) and getattr(type(found), method).__doc__


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown backend 'tflite'. Known: .*tflm-cmsis-nn"
    ):
        registry.backend("tflite")


def test_a_plugin_is_found(plugins) -> None:
    plugins(other=f"{__name__}:OTHER")
    assert registry.backend("other") is OTHER
    assert "tflm" in registry.backends()


@pytest.mark.parametrize(
    "value", ["no_such_module_here:BACKEND", f"{__name__}:MISSING", f"{__name__}:NAMELESS"]
)
def test_a_broken_plugin_is_logged_by_name_and_skipped(plugins, caplog, value: str) -> None:
    plugins(broken=value, other=f"{__name__}:OTHER")
    with caplog.at_level("WARNING", "hwsearch"):
        known = registry.backends()
    assert "broken" in caplog.text and value in caplog.text
    assert "other" in known and "tflm" in known and "broken" not in known


def test_a_plugin_does_not_replace_a_built_in(plugins, caplog, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "OTHER", Other(name="tflm"))
    plugins(thief=f"{__name__}:OTHER")
    with caplog.at_level("WARNING", "hwsearch"):
        known = registry.backends()
    assert known["tflm"] is not OTHER and "thief" in caplog.text
