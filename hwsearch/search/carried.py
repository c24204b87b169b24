"""Users' own losses, metrics and layers, as bytes that another process can make them from."""

from __future__ import annotations

import sys
import sysconfig
from typing import Any

import cloudpickle


def dumps(thing: Any) -> bytes:
    """By cloudpickle; what the user's own files define goes by value.

    A trial process cannot import the user's script, nor modules beside it. Installed packages
    go by name.
    """
    modules = {m for m in list(sys.modules.values()) if _is_users(m)}  # one may have two names
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(thing))
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def loads(content: bytes) -> Any:
    """What :func:`dumps` was given; only ever of bytes made by the same search."""
    return cloudpickle.loads(content)


_INSTALLED = tuple({sysconfig.get_path(p) for p in ("stdlib", "platstdlib", "purelib", "platlib")})


def _is_users(module: Any) -> bool:
    """Whether a module is a file of the user's, not installed and not this package."""
    file = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "")
    return (
        isinstance(file, str)
        and sys.modules.get(name) is module
        and name.partition(".")[0] not in ("hwsearch", "__main__")
        and not file.startswith(_INSTALLED)
    )
