"""What each key of a Space takes: one table, for values in Python and for TOML files alike."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsearch.errors import SpaceError
from hwsearch.toml_file import read_toml

PRESETS = Path(__file__).parent / "search_spaces"
"""A link to ``search_spaces/``, so that an installed package has them too."""

SALIENCIES = ("l1", "l2", "taylor", "apoz", "bn", "random")
"""Measures by which channels are ranked for pruning, see ``compress/saliency.py``."""

SCHEDULES = ("one-shot", "iterative", "agp")
"""When channels are cut and weights set to zero, see ``compress/schedule.py``."""

PATTERNS = ("any", "2:4")
"""Where zeros may be, see ``compress/elementwise.py``."""

CLUSTERS = (0, 16, 32)
"""Values that the weights of a layer may share; 0 is any number."""

TRAINERS = ("keras", "tfmot")
"""Who trains zeros, shared values and QAT: ``compress/straight_through.py``, or
tensorflow-model-optimization in a process of its own (``compress/tfmot.py``)."""


METHODS = ("structured", "differentiable")
"""How channels are chosen: by saliency, or by gates trained inside the limits."""

RATIOS = ("per-group", "global")
"""Whether each channel group has a pruning ratio of its own, or all channels are ranked as one."""


def is_number(value: object) -> bool:
    """Whether it is a finite number, not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object, least: int) -> bool:
    """Whether it is a whole number from ``least``, not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True)
class Key:
    """What one key takes.

    Attributes:
        expected: in words, for messages.
        fits: whether a value does; of a key that is searched, each item of its list.
        searched: whether it is a list: not empty, each item once.
        rising: whether the list must rise.
        may_be_empty: whether it may be empty all the same.
    """

    expected: str
    fits: Callable[[Any], bool]
    searched: bool = False
    rising: bool = False
    may_be_empty: bool = False

    def takes(self, value: object) -> bool:
        """Whether a value can be meant."""
        if not self.searched:
            return self.fits(value)
        if not isinstance(value, list | tuple) or not all(map(self.fits, value)):
            return False
        if not value:
            return self.may_be_empty
        return len(set(value)) == len(value) and (not self.rising or sorted(value) == list(value))


def _some_of(known: tuple[object, ...]) -> Key:
    def fits(item: object) -> bool:
        return any(type(item) is type(k) and item == k for k in known)

    return Key(f"some of {known}, each once", fits, searched=True)


KEYS: Mapping[str, Key] = {
    "pruning_ratio": Key(
        "rising numbers from 0 to below 1", lambda r: is_number(r) and 0 <= r < 1, True, True
    ),
    "multiple_of": Key("whole numbers from 1, each once", lambda m: is_whole(m, 1), True),
    "saliency": _some_of(SALIENCIES),
    "schedule": _some_of(SCHEDULES),
    "sparsity": Key(
        "rising numbers from 0 to below 1", lambda r: is_number(r) and 0 <= r < 1, True, True
    ),
    "pattern": _some_of(PATTERNS),
    "clusters": _some_of(CLUSTERS),
    "qat": _some_of((False, True)),
    "trainer": _some_of(TRAINERS),
    "method": _some_of(METHODS),
    "ratios": _some_of(RATIOS),
    "drop_blocks": Key("rising whole numbers from 0", lambda n: is_whole(n, 0), True, True),
    "weight_bits": _some_of((4, 8)),
    "activation_bits": _some_of((8, 16)),
    "epochs": Key("a whole number from 0", lambda n: is_whole(n, 0)),
    "rungs": Key("rising whole numbers from 1", lambda n: is_whole(n, 1), True, True, True),
    "learning_rate": Key("a positive number", lambda r: is_number(r) and r > 0),
    "batch_size": Key("a whole number from 1", lambda n: is_whole(n, 1)),
    "samples": Key("a whole number from 0", lambda n: is_whole(n, 0)),
    "distillation": Key(
        "numbers from 0 to 1, each once", lambda w: is_number(w) and 0 <= w <= 1, True
    ),
    "temperature": Key("a number from 1", lambda t: is_number(t) and t >= 1),
}
"""By the name of each attribute of :class:`hwsearch.Space`. A new attribute needs a line here."""


def problem(name: str, value: object, known: Iterable[str] = KEYS) -> str:
    """What is wrong with a key and its value; "" if nothing is."""
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known))}"
        return f"unknown key {name!r}. {hint}"
    if KEYS[name].takes(value):
        return ""
    return f"{name}={value!r} cannot be searched, expected {KEYS[name].expected}."


def presets() -> dict[str, Path]:
    """The files of ``search_spaces/`` by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.toml"))}


def read(source: str | Path) -> dict[str, Any]:
    """The keys and values of a preset, or of a TOML file; all are checked.

    Args:
        source: a name of :func:`presets`, or a path.

    Raises:
        SpaceError: no such preset or file, or it is not TOML; or what is wrong with it, each
            problem with its line.
    """
    path = presets().get(str(source), Path(source))
    if not path.is_file():
        raise SpaceError(
            f"no search space {str(source)!r}: it is neither a file nor one of the presets "
            f"{', '.join(presets())}."
        )
    file = read_toml(path, "the space", SpaceError)
    wrong = {name: said for name, value in file.table.items() if (said := problem(name, value))}
    if wrong:
        raise SpaceError("; ".join(f"{file.at(name)}: {said}" for name, said in wrong.items()))
    return file.table
