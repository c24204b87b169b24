"""Identity: what a loss or metric of the user's is, as JSON, so that a study knows its own again.

Names alone do not tell: a function made by ``focal(gamma=5)`` has the name and the code of one
made by ``focal(gamma=1)``. So what a function closes over, its defaults, the globals that it names
and the settings and methods of an object count too, and no memory address does. What comes with a
library goes by its name, with what it closes over and its configuration. Not told apart: what a
library's object gathers by use, models and optimizers that something holds, variables, and what a
module or class has that a function names.
"""

from __future__ import annotations

import dis
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from pathlib import PurePath
from re import Pattern
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

LENGTH = 16

LIBRARIES = frozenset({"hwsearch", "keras", "numpy", "tensorflow"}) | sys.stdlib_module_names
"""Beside what is installed among site-packages."""

VALUES = (bytes, complex, range, slice, Decimal, Fraction, PurePath, Pattern, date, time)
"""Whose ``repr`` says what they are."""

Within = tuple[int, ...]


def digest(told: Any, length: int = 8) -> str:
    """Hexadecimal digits that stand for what JSON has words for."""
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:length]


def identity(thing: Any) -> object:
    """What a loss or metric is: equal in every process for what computes the same, and before
    and after use. A counter or a cache of the user's own counts as a setting: what is compared
    must be told before it is used.

    Args:
        thing: a name, a function, an object, or a collection of such.
    """
    return _Telling().of(thing, ())


class _Telling:
    """One walk through a thing; what is reached by several ways is told once."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[Any, object]] = {}  # with the thing: a freed one's id returns

    def of(self, thing: Any, within: Within) -> object:
        """What a thing is; ``within`` has the ids of those that it is part of."""
        if isinstance(thing, str | int | float | bool | None):
            return thing
        if isinstance(thing, ModuleType | type):
            return _named(thing)
        if id(thing) in within:
            return "itself"
        inside = (*within, id(thing))
        if isinstance(thing, Mapping):
            pairs = ([self.of(part, inside) for part in pair] for pair in thing.items())
            return ["mapping", *sorted(pairs, key=json.dumps)]
        if isinstance(thing, list | tuple):
            return [self.of(value, inside) for value in thing if not _is_variable(value)]
        if isinstance(thing, set | frozenset):
            return sorted(json.dumps(self.of(value, within)) for value in thing)
        if isinstance(thing, CodeType):
            return self._code(thing)
        if id(thing) not in self._told:
            self._told[id(thing)] = thing, self._one(thing, inside)
        return self._told[id(thing)][1]

    def _one(self, thing: Any, within: Within) -> object:
        if isinstance(thing, partial):
            parts = (thing.func, thing.args, thing.keywords)
            return ["partial", *(self.of(part, within) for part in parts)]
        if isinstance(thing, MethodType):
            return [self.of(part, within) for part in (thing.__self__, thing.__func__)]
        if isinstance(thing, BuiltinFunctionType):
            return _named(thing)
        if isinstance(thing, FunctionType):
            return self._function(thing, within)
        for wrapped in ("python_function", "__wrapped__"):  # tf.function, lru_cache: filled by use
            if hasattr(thing, wrapped):
                return self.of(getattr(thing, wrapped), within)
        if _is_variable(thing):
            return "variable"
        if callable(getattr(thing, "__array__", None)):
            values = np.ascontiguousarray(thing)
            return self.of(values.tolist(), within) if values.dtype.hasobject else _array(values)
        return self._object(thing, within)

    def _function(self, thing: FunctionType, within: Within) -> object:
        cells = [_content(cell) for cell in thing.__closure__ or ()]
        if _is_library(thing.__module__):
            return [_named(thing), self.of(cells, within)] if cells else _named(thing)
        named = {n: thing.__globals__[n] for n in _names(thing.__code__) if n in thing.__globals__}
        parts = (thing.__code__, thing.__defaults__, thing.__kwdefaults__, cells, named)
        return [thing.__qualname__, digest([self.of(part, within) for part in parts], LENGTH)]

    def _object(self, thing: Any, within: Within) -> object:
        """An instance: its class with the methods that are no library's, and its settings."""
        kind = type(thing)
        own = [c for c in kind.__mro__ if not _is_library(c.__module__)]
        if isinstance(thing, VALUES):
            return [_named(kind), repr(thing)]
        if not (own or _is_told(thing)):  # a lock, a model, an optimizer
            return [_named(kind), getattr(thing, "__module__", ""), getattr(thing, "__name__", "")]
        settings = thing.get_config() if hasattr(thing, "get_config") else {}
        used = _built(kind) | {"name"}  # in which Keras counts the instances
        settings = settings | {k: v for k, v in _attributes(thing) if not _is_variable(v)}
        settings = {k: v for k, v in settings.items() if k not in used}
        methods = [self.of(part, within) for c in own for part in _parts(c)]
        told = [self.of(settings, within), methods]
        return [_named(kind), getattr(thing, "__name__", ""), digest(told, LENGTH)]

    def _code(self, code: CodeType) -> list[object]:
        """The instructions of a function, its constants, and the functions within it."""
        consts = [
            self.of(c, ()) if isinstance(c, CodeType | tuple | frozenset) else repr(c)
            for c in code.co_consts
        ]
        return [code.co_code.hex(), list(code.co_names), consts]


def _content(cell: CellType) -> Any:
    """Of a variable that a function closes over; one that has no value yet has none."""
    try:
        return cell.cell_contents
    except ValueError:
        return "empty"


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """Of an instance, in its dictionary or in slots."""
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name) and name not in ("__dict__", "__weakref__"):
                yield name, getattr(thing, name)


def _built(kind: type) -> frozenset[str]:
    """Attributes that a library's methods give an instance by use; whether with an underscore or
    without, as configurations have them."""
    theirs = (c for c in kind.__mro__ if _is_library(c.__module__))
    methods = (v for c in theirs for k, v in vars(c).items() if k != "__init__")
    stored = {
        one.argval
        for method in methods
        if isinstance(method, FunctionType)
        for one in dis.get_instructions(method)
        if one.opname == "STORE_ATTR"
    }
    return frozenset(stored | {name.lstrip("_") for name in stored})


def _parts(kind: type) -> Iterator[Any]:
    """Methods of a class, and what it has in common for its instances."""
    for name, value in vars(kind).items():
        value = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(value, FunctionType):
            yield value
        elif not name.startswith("__") and isinstance(value, str | int | float | tuple | None):
            yield [name, value]


def _names(code: CodeType) -> list[str]:
    """Globals that a function and those within it speak of."""
    found = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return sorted(found.union(*map(_names, inner)))


def _is_told(thing: Any) -> bool:
    """Whether a library's object has settings that count: Keras' and TensorFlow's are losses and
    metrics, of others those that have a configuration or can be called."""
    kind = type(thing)
    if any(c.__name__ in ("Loss", "Metric") for c in kind.__mro__):
        return True
    if kind.__module__.partition(".")[0] in LIBRARIES:
        return False
    return hasattr(thing, "get_config") or callable(thing)


def _is_variable(thing: Any) -> bool:
    """Whether it is what a metric or a layer counts in."""
    package = type(thing).__module__.partition(".")[0]
    return hasattr(thing, "assign") and package in ("keras", "tensorflow")


@cache
def _is_library(module: str | None) -> bool:
    """Whether a module is Python's, or installed."""
    first = (module or "").partition(".")[0]
    path = getattr(sys.modules.get(first), "__file__", None) or ""
    return first in LIBRARIES or "site-packages" in path or "dist-packages" in path


def _named(thing: Any) -> str:
    """Of a class, a function or a module."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"


def _array(values: NDArray[Any]) -> str:
    return hashlib.sha256(f"{values.shape}{values.dtype}".encode() + values.tobytes()).hexdigest()
