"""Deployment backends, one file each; others register as entry points ``hwsearch.backends``."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from hwsearch.backends.backend import Backend, RamColumns, Refusal
from hwsearch.errors import UnknownNameError

__all__ = ["Backend", "RamColumns", "Refusal", "backend", "backends"]

BUILT_IN = ("tflm", "x_cube_ai", "microtvm")
"""Modules of this package that hold a tuple ``BACKENDS``."""


@cache
def backends() -> dict[str, Backend]:
    """Every backend by name; a plugin that does not load is logged and skipped."""
    found: dict[str, Backend] = {}
    for module in BUILT_IN:
        for runtime in import_module(f"{__name__}.{module}").BACKENDS:
            found[runtime.name] = runtime
    for point in entry_points(group="hwsearch.backends"):
        try:
            runtime = point.load()
            found[runtime.name] = runtime
        except Exception as error:
            logging.getLogger("hwsearch").warning(
                "the backend plugin %r (%s) does not load and is skipped: %s",
                point.name,
                point.value,
                error,
            )
    return found


def backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        UnknownNameError: no such backend; lists those there are.
    """
    known = backends()
    if name not in known:
        raise UnknownNameError("backend", name, known)
    return known[name]
