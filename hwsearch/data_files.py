"""Data named on a command line: a ``.npz`` file, or a function of the user's that makes it."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch import archive
from hwsearch.errors import DataError

SPLITS = {"data": ("", "_train"), "validation_data": ("_val",), "test_data": ("_test",)}
"""By argument of :func:`hwsearch.optimize` the endings of the arrays that make it up."""

FORM = (
    "Expected arrays x and y, or x_train, y_train, x_val, y_val, x_test, y_test; of a model with "
    "several inputs x.NAME for each."
)
_ARRAY = re.compile(r"(x|y)(_train|_val|_test)?(?:\.(.+))?")


@dataclass(frozen=True)
class DataSource:
    """What one source gives: each as :func:`hwsearch.optimize` takes it, or None."""

    data: Any = None
    validation_data: Any = None
    test_data: Any = None


def read(source: str) -> DataSource:
    """The data of ``FILE.npz``, ``module:function`` or ``FILE.py:function``.

    A function is the user's own code and is run; it gives what ``data=`` takes, or a mapping
    with the keys ``data``, ``validation_data``, ``test_data``. A file's code is never run: arrays
    of Python objects are refused.

    Raises:
        DataError: no such file or function, or it is not of that form.
    """
    if source.endswith(".npz"):
        return _npz(Path(source))
    place, colon, name = source.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise DataError(
            f"{source!r} is no data. Give a .npz file, or a function as module:function or "
            "file.py:function."
        )
    function = _function(place, name, source)
    try:
        made = function()
    except Exception as error:  # the user's own
        raise DataError(
            f"{source!r} raised {type(error).__name__}: {error}. Expected a function without "
            "arguments that gives (x, y)."
        ) from error
    if isinstance(made, Mapping) and made and set(made) <= set(SPLITS):
        return DataSource(**made)
    return DataSource(made)


def _npz(path: Path) -> DataSource:
    if not path.is_file():
        raise DataError(f"there is no file {path}.")
    archive.check(path, DataError)
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except Exception as error:  # NumPy's, zipfile's and zlib's own
        objects = "Object arrays" in str(error)
        raise DataError(
            f"{path} cannot be read: {'it holds Python objects' if objects else error}. Save "
            "numbers with numpy.savez; pickled objects are never loaded."
        ) from error
    parts: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        match = _ARRAY.fullmatch(name)
        if match is None:
            raise DataError(f"{path} has an array {name!r}. {FORM}")
        side, ending, port = match.groups()
        known = parts.setdefault(f"{side}{ending or ''}", {})
        known[port or ""] = array
    made = {
        argument: _pair(path, parts, ending)
        for argument, endings in SPLITS.items()
        for ending in endings
        if f"x{ending}" in parts
    }
    if not made or sum(f"x{e}" in parts for e in SPLITS["data"]) > 1:
        raise DataError(f"{path} has the arrays {', '.join(sorted(arrays)) or 'none'}. {FORM}")
    return DataSource(**made)


def _pair(path: Path, parts: Mapping[str, Mapping[str, Any]], ending: str) -> Any:
    x = _arrays(path, parts[f"x{ending}"])
    return (x, _arrays(path, parts[f"y{ending}"])) if f"y{ending}" in parts else x


def _arrays(path: Path, found: Mapping[str, Any]) -> Any:
    if set(found) == {""}:
        return found[""]
    if "" in found:
        raise DataError(f"{path} has an array both with and without a name. {FORM}")
    return dict(found)


def _function(place: str, name: str, source: str) -> Any:
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(place)
        return getattr(module, name)
    except (ImportError, FileNotFoundError, AttributeError) as error:
        raise DataError(f"{source!r} cannot be loaded: {error}.") from error
