"""Deployment backends, one file each; others register as entry points ``hwsearch.backends``."""

from __future__ import annotations

import logging
from dataclasses import is_dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from hwsearch.backends.backend import Backend, RamColumns, Refusal
from hwsearch.cost import latency
from hwsearch.cost.coefficients import known as known_coefficients
from hwsearch.errors import UnknownNameError

__all__ = ["Backend", "RamColumns", "Refusal", "backend", "backends", "versions"]

BUILT_IN = ("aot", "tflm", "x_cube_ai", "microtvm")
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
            if runtime.name in found:
                raise ValueError(f"the name {runtime.name!r} is taken")
            found[runtime.name] = runtime
        except Exception as error:
            logging.getLogger("hwsearch").warning(
                "the backend plugin %r (%s) does not load and is skipped: %s",
                point.name,
                point.value,
                error,
            )
    return found


def backend(name: str, version: str | None = None) -> Backend:
    """The backend of this name, its latency that of one version of the runtime.

    Args:
        name: may end in a version: ``"tflm-cmsis-nn-2.3.1"``. Where each version is a backend of
            its own, the bare name is the newest: ``"x-cube-ai"``.
        version: the same, apart.

    Raises:
        UnknownNameError: no such backend or version; lists those there are.
    """
    known = backends()
    full = name if version is None else f"{name}-{version}"
    newest = f"{full}-{latency.VERSIONS.get(full, ('',))[0]}"
    for exact in (full, newest):
        if exact in known:
            return known[exact]
    for runtime in sorted(known, key=len, reverse=True):
        found = known[runtime]
        if full.removeprefix(f"{runtime}-") in versions(runtime) and is_dataclass(found):
            # Refusals, plan and code do not depend on it; latency reads it off the name.
            return cast(Backend, replace(found, name=full))
    versioned = (f"{runtime}-{v}" for runtime in known for v in versions(runtime))
    raise UnknownNameError("backend", full, {*known, *versioned})


def versions(runtime: str) -> tuple[str, ...]:
    """Versions of a runtime whose latency was measured or fitted."""
    return tuple(sorted({s.version for s in known_coefficients().sets if s.runtime == runtime}))
