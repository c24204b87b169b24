"""Arguments that every search takes, checked before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsearch.board import Board
from hwsearch.budget import Budget, target
from hwsearch.errors import InputError
from hwsearch.proof import emulator_of, reach
from hwsearch.space import Space


@dataclass(frozen=True)
class Aim:
    """Where models are to run, and what of them may vary.

    Attributes:
        board: it.
        budget: with the board's own limits.
        device: where finalists run.
        backends: to choose from; None is all that can be proven here.
        space: what may vary; None is the default.
    """

    board: Board
    budget: Budget
    device: str
    backends: tuple[str, ...] | None
    space: Space | None


def aim(
    budget: Budget | str,
    board: str | Board | None,
    device: str | None,
    backends: Sequence[str] | str | None,
    space: Space | str | Path | None,
) -> Aim:
    """What a search's arguments of these names mean.

    Raises:
        InputError: one of its kinds says which cannot be meant and what to give.
        DeviceError: the device is a board that no image can be written to, or that is not there.
    """
    on, limits = target(budget, board)
    where = device or emulator_of(on.core)
    reach(where, on)
    runtimes = (backends,) if isinstance(backends, str) else backends
    if runtimes is not None and not runtimes:
        raise InputError("backends=[] leaves nothing to search. Leave it out, or name some.")
    what = space if isinstance(space, Space) or space is None else Space.load(space)
    if what is not None and "differentiable" in what.method and not limits.limits:
        raise InputError(
            'method="differentiable" aims at the limits, and there are none. Give e.g. '
            'Budget(flash="64 KiB"), or a board.'
        )
    return Aim(on, limits, where, None if runtimes is None else tuple(runtimes), what)


def check_counts(least: int, **given: object) -> None:
    """Nothing, if these are whole numbers of at least so much.

    Raises:
        InputError: names the one that is not.
    """
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}={value!r} is not a whole number from {least}.")


def check_seconds(**given: object) -> None:
    """Nothing, if these are positive numbers of seconds, or None.

    Raises:
        InputError: names the one that is not.
    """
    for name, value in given.items():
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise InputError(f"{name}={value!r} is not a positive number of seconds.")
