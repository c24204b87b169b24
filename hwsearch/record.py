"""Frozen dataclasses as JSON and back: the field names are the keys, so units stay in them.

What JSON cannot say is written so: a Path as text (relative to a directory where it lies below
it), a number that is not finite as ``"nan"``, ``"inf"`` or ``"-inf"``.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from hwsearch.budget import Budget
from hwsearch.cost.cost import Band
from hwsearch.errors import ModelFileError

KEYS: dict[type, dict[str, str]] = {
    Band: {"low": "error_low", "high": "error_high"},
    Budget: {
        "flash": "flash_bytes",
        "ram": "ram_bytes",
        "latency": "latency_s",
        "energy": "energy_j",
    },
}
"""Keys that differ from the field's name, by class."""


def to_json(value: object, directory: Path | None = None) -> Any:
    """A value of dataclasses, tuples, mappings, paths and plain values as JSON's types.

    Args:
        value: what to write.
        directory: paths below it are written relative to it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        names = KEYS.get(type(value), {})
        return {
            names.get(f.name, f.name): to_json(getattr(value, f.name), directory)
            for f in fields(value)
        }
    if isinstance(value, Path):
        below = directory is not None and value.is_relative_to(directory)
        return (value.relative_to(cast(Path, directory)) if below else value).as_posix()
    if isinstance(value, Mapping):
        return {str(k): to_json(v, directory) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v, directory) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return to_json(value.item(), directory)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def from_json(kind: Any, value: Any, directory: Path | None = None) -> Any:
    """What :func:`to_json` wrote, as ``kind`` again.

    Args:
        kind: a dataclass, or the annotation of one of its fields.
        value: JSON's types.
        directory: relative paths are below it.

    Raises:
        ModelFileError: the value is not what ``kind`` needs.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        options = [k for k in get_args(kind) if k is not type(None)]
        if value is None:
            return None
        if any(option in (int, float, str) for option in options):
            return float(value) if value in ("nan", "inf", "-inf") else value
        return from_json(options[0], value, directory)
    if origin is Literal:
        _expect(value in get_args(kind), kind, value)
        return value
    if origin is tuple:
        _expect(isinstance(value, list), kind, value)
        inner = get_args(kind)
        of = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        _expect(len(of) == len(value), kind, value)
        return tuple(from_json(k, v, directory) for k, v in zip(of, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        _expect(isinstance(value, dict), kind, value)
        return {k: from_json(get_args(kind)[1], v, directory) for k, v in value.items()}
    if is_dataclass(kind):
        _expect(isinstance(value, dict), kind, value)
        return _dataclass(cast(type, kind), value, directory)
    if kind is Path:
        _expect(isinstance(value, str), kind, value)
        return Path(value) if directory is None else directory / value
    if kind is float:
        _expect(
            (isinstance(value, int | float) and not isinstance(value, bool))
            or value in ("nan", "inf", "-inf"),
            kind,
            value,
        )
        return float(value)
    _expect(isinstance(value, kind) and (kind is not int or type(value) is int), kind, value)
    return value


def _dataclass(kind: type, value: Mapping[str, Any], directory: Path | None) -> Any:
    hints, names = get_type_hints(kind), KEYS.get(kind, {})
    arguments = {}
    for f in fields(kind):
        key = names.get(f.name, f.name)
        if f.init and key in value:
            arguments[f.name] = from_json(hints[f.name], value[key], directory)
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ModelFileError(
            f"this is not a {kind.__name__}: {error}. Was it written by another version?"
        ) from error


def _expect(holds: bool, kind: object, value: object) -> None:
    if not holds:
        shown = repr(value)
        raise ModelFileError(
            f"expected {getattr(kind, '__name__', kind)} in this file, "
            f"found {shown[:60]}{'…' if len(shown) > 60 else ''}. "
            "Was it written by another version?"
        )
