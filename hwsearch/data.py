"""Samples: a user's data as arrays that match a model: checked, split, shared with children."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import DataError

Array = NDArray[Any]


def spaced(array: Array, count: int) -> Array:
    """At most so many samples of an array [n, …], evenly spaced: of data that is sorted by class
    or by loudness they show all there is."""
    rows = np.linspace(0, len(array) - 1, min(count, len(array))).astype(np.int64)
    return array[rows]


@dataclass(frozen=True)
class Samples:
    """Inputs and targets of n samples.

    Attributes:
        inputs: per model input an array [n, …].
        targets: per model output an array [n, …]; empty where there are none.
    """

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, rows: Array | slice) -> Samples:
        """Only these samples."""
        return Samples(tuple(x[rows] for x in self.inputs), tuple(y[rows] for y in self.targets))

    def split(self, seed: int) -> tuple[Samples, Samples]:
        """Two halves, drawn once by the seed."""
        order = np.random.default_rng(seed).permutation(len(self))
        half = len(order) // 2
        return self.take(np.sort(order[:half])), self.take(np.sort(order[half:]))

    def save(self, folder: Path) -> None:
        """Writes each array as ``.npy`` into a new or empty folder; :meth:`load` maps them."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind, arrays in (("input", self.inputs), ("target", self.targets)):
            for i, array in enumerate(arrays):
                np.save(folder / f"{kind}_{i}.npy", array, allow_pickle=False)
        counts = {"inputs": len(self.inputs), "targets": len(self.targets)}
        (folder / "samples.json").write_text(json.dumps(counts))

    @classmethod
    def load(cls, folder: Path) -> Samples:
        """The samples of a folder, memory-mapped: children share one copy."""
        counts = json.loads((folder / "samples.json").read_text())

        def arrays(kind: str, count: int) -> tuple[Array, ...]:
            names = (folder / f"{kind}_{i}.npy" for i in range(count))
            return tuple(np.load(name, mmap_mode="r", allow_pickle=False) for name in names)

        return cls(arrays("input", counts["inputs"]), arrays("target", counts["targets"]))

    @property
    def digest(self) -> str:
        """Of shapes, dtypes and up to 4,096 evenly spaced samples of each array."""
        state = hashlib.sha256()
        for array in (*self.inputs, *self.targets):
            state.update(f"{array.shape}{array.dtype}".encode())
            state.update(np.ascontiguousarray(array[:: max(1, len(array) // 4096)]).tobytes())
        return state.hexdigest()[:16]


@dataclass(frozen=True)
class Port:
    """One input or output of a model: its name and its shape without the batch."""

    name: str
    shape: tuple[int, ...]


def samples(data: Any, inputs: Sequence[Port], outputs: Sequence[Port], what: str) -> Samples:
    """A user's data as Samples.

    Args:
        data: ``(x, y)``, x and y arrays, tuples or dicts of arrays by name; ``x`` alone; or a
            finite ``tf.data.Dataset`` of either, batched or not.
        inputs, outputs: of the model.
        what: the argument's name, for messages.

    Raises:
        DataError: the data is of another form, count or shape than the model's.
    """
    shuffled = hasattr(data, "as_numpy_iterator")
    if shuffled:
        data = _collected(data, inputs, what)
    if (
        isinstance(data, tuple | list)
        and len(data) == 2
        and not (len(inputs) == 2 and _is_arrays(data, inputs))
    ):
        x, y = data
    elif isinstance(data, tuple | list | dict) or hasattr(data, "shape"):
        x, y = data, None
    else:
        raise DataError(
            f"{what} is a {type(data).__name__}, expected (x, y) arrays or a tf.data.Dataset."
        )
    found = Samples(
        _matched(x, inputs, f"{what}'s inputs", floats=True),
        () if y is None else _matched(y, outputs, f"{what}'s targets", floats=False),
    )
    counts = {len(a) for a in (*found.inputs, *found.targets)}
    if len(counts) != 1 or counts == {0}:
        raise DataError(
            f"{what} has arrays of {sorted(counts)} samples, expected the same number, at least 1."
        )
    return found.take(_order(found.inputs)) if shuffled else found


def _order(arrays: Sequence[Array]) -> Array:
    """An order of the samples by their content: a dataset that shuffles is the same one again."""
    rows = [np.ascontiguousarray(a).reshape(len(a), -1).view(np.uint8) for a in arrays]
    keys = [zlib.crc32(b"".join(r[i].tobytes() for r in rows)) for i in range(len(rows[0]))]
    return np.argsort(np.array(keys, np.int64), kind="stable")


def _is_arrays(data: Sequence[Any], ports: Sequence[Port]) -> bool:
    """Whether this pair is two model inputs, not inputs and targets."""
    return all(getattr(d, "shape", (0,))[1:] == p.shape for d, p in zip(data, ports, strict=True))


def _matched(given: Any, ports: Sequence[Port], what: str, floats: bool) -> tuple[Array, ...]:
    names = [p.name for p in ports]
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise DataError(f"{what} are named {sorted(given)}, expected {names}.")
        arrays = [given[n] for n in names]
    elif isinstance(given, tuple | list) and len(given) == len(ports) and len(ports) > 1:
        arrays = list(given)
    elif len(ports) == 1:
        arrays = [given[0] if isinstance(given, tuple | list) and len(given) == 1 else given]
    else:
        raise DataError(f"{what} are one array, expected {len(ports)}: {', '.join(names)}.")
    found = []
    for array, port in zip(arrays, ports, strict=True):
        try:
            array = np.asarray(array)
        except ValueError as error:  # samples of different shapes
            raise DataError(f"{what} {port.name!r} are not one array: {error}") from error
        if array.dtype.kind not in "fiub":
            raise DataError(f"{what} {port.name!r} have dtype {array.dtype}, expected numbers.")
        if array.ndim == 0:
            raise DataError(f"{what} {port.name!r} are one number, expected an array of samples.")
        if floats:
            if array.shape[1:] != port.shape and (*array.shape[1:], 1) == port.shape:
                array = array[..., None]
            if array.shape[1:] != port.shape:
                raise DataError(
                    f"{what} {port.name!r} have shape {array.shape}, expected (samples, "
                    f"{', '.join(map(str, port.shape))})."
                )
            array = array.astype(np.float32, copy=False)
        if not all(np.isfinite(part).all() for part in _parts(array)):
            raise DataError(f"{what} {port.name!r} hold NaN or infinity. Clean them first.")
        found.append(array)
    return tuple(found)


def _parts(array: Array) -> Iterator[Array]:
    """The array, 1,000 samples at a time."""
    return (array[start : start + 1000] for start in range(0, len(array), 1000))


def _collected(dataset: Any, inputs: Sequence[Port], what: str) -> Any:
    """A finite tf.data.Dataset as arrays."""
    count = int(dataset.cardinality())
    if count == -1:
        raise DataError(f"{what} is an endless tf.data.Dataset. Call .take(n) on it first.")
    rows = list(dataset.as_numpy_iterator())
    if not rows:
        raise DataError(f"{what} is an empty tf.data.Dataset.")
    first = rows[0][0] if isinstance(rows[0], tuple) else rows[0]
    if isinstance(first, Mapping):
        first = first.get(inputs[0].name, next(iter(first.values())))
    seen, shape = np.shape(_leaves(first)[0]), inputs[0].shape
    flat = shape[:-1] if shape[-1:] == (1,) else shape  # the channel axis may be missing
    batched = len(seen) == len(shape) + 1 or (seen != shape and seen[1:] == flat)
    return _joined(rows, batched)


def _leaves(nested: Any) -> list[Any]:
    if isinstance(nested, Mapping):
        return [leaf for value in nested.values() for leaf in _leaves(value)]
    if isinstance(nested, tuple | list):
        return [leaf for value in nested for leaf in _leaves(value)]
    return [nested]


def _joined(rows: Sequence[Any], batched: bool) -> Any:
    first = rows[0]
    if isinstance(first, Mapping):
        return {name: _joined([row[name] for row in rows], batched) for name in first}
    if isinstance(first, tuple | list):
        return tuple(_joined([row[i] for row in rows], batched) for i in range(len(first)))
    return np.concatenate(rows) if batched else np.stack(rows)


def generated(inputs: Sequence[Port], count: int, seed: int) -> Samples:
    """Inputs for a model without data: smooth noise of mean 0 and variance 1.

    White noise drives a network far from where it was trained; natural signals are smooth.
    """
    rng = np.random.default_rng(seed)
    arrays = []
    for port in inputs:
        noise = rng.standard_normal((count, *port.shape)).astype(np.float32)
        for axis in range(1, noise.ndim - 1):
            noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
        arrays.append((noise / max(float(noise.std()), 1e-6)).astype(np.float32))
    return Samples(tuple(arrays))
