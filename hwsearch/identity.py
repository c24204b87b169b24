"""Identity: what a loss or metric of the user's is, as JSON, so that a study knows its own again.

Names alone do not tell: a function made by ``focal(gamma=5)`` has the name and the code of one
made by ``focal(gamma=1)``. So what a function closes over, its defaults, and the settings and
methods of an object count too, and no memory address does. What comes with a library goes by its
name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

LENGTH = 16

LIBRARIES = ("builtins", "keras", "numpy", "tensorflow")


def digest(told: Any, length: int = 8) -> str:
    """Hexadecimal digits that stand for what JSON has words for."""
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:length]


def identity(thing: Any, within: tuple[int, ...] = ()) -> object:
    """What a loss or metric is: equal in every process for what computes the same.

    Args:
        thing: a name, a function, an object, or a collection of such.
        within: ``id`` of the things that it is part of: one that holds itself ends there.
    """
    if isinstance(thing, str | int | float | bool | None):
        return thing
    if id(thing) in within:
        return "itself"
    within = (*within, id(thing))
    if isinstance(thing, Mapping):
        return {str(key): identity(value, within) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [identity(value, within) for value in thing]
    if isinstance(thing, set | frozenset):
        return sorted(map(repr, thing))
    if isinstance(thing, partial):
        parts = (thing.func, thing.args, thing.keywords)
        return ["partial", *(identity(part, within) for part in parts)]
    if isinstance(thing, MethodType):
        return [identity(part, within) for part in (thing.__self__, thing.__func__)]
    if isinstance(thing, ModuleType | type):
        return _named(thing)
    if isinstance(thing, FunctionType):
        if _is_library(thing.__module__):
            return _named(thing)
        cells = [_content(cell) for cell in thing.__closure__ or ()]
        given = (thing.__defaults__, thing.__kwdefaults__, cells)
        told = [_code(thing.__code__), *(identity(part, within) for part in given)]
        return [thing.__qualname__, digest(told, LENGTH)]
    if callable(getattr(thing, "__array__", None)):
        return _array(thing)
    return _object(thing, within)


def _object(thing: Any, within: tuple[int, ...]) -> object:
    """An instance: its class with the methods that are not Keras' own, and its settings."""
    kind = type(thing)
    settings = thing.get_config() if hasattr(thing, "get_config") else {}
    settings = settings | {k: v for k, v in getattr(thing, "__dict__", {}).items() if _plain(v)}
    settings.pop("name", None)  # Keras counts the instances in it
    own = [c for c in kind.__mro__ if not _is_library(c.__module__)]
    methods = [v for c in own for v in vars(c).values() if isinstance(v, FunctionType)]
    told = [identity(settings, within), [identity(method, within) for method in methods]]
    return [_named(kind), getattr(thing, "__name__", ""), digest(told, LENGTH)]


def _content(cell: CellType) -> Any:
    """Of a variable that a function closes over; one that has no value yet has none."""
    try:
        return cell.cell_contents
    except ValueError:
        return "empty"


def _plain(value: Any) -> bool:
    """Whether an attribute is a setting and no variable or machinery."""
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    return isinstance(value, str | int | float | bool | None | np.ndarray | FunctionType | partial)


def _is_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in LIBRARIES


def _named(thing: Any) -> str:
    """Of a class, a function or a module."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"


def _array(thing: Any) -> str:
    values = np.ascontiguousarray(thing)
    return hashlib.sha256(f"{values.shape}{values.dtype}".encode() + values.tobytes()).hexdigest()


def _code(code: CodeType) -> list[object]:
    """The instructions of a function, its constants, and the functions within it."""
    consts = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), consts]
