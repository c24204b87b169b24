"""The exceptions of hwsearch; each says what happened, what was expected and what to do.

HwsearchError
├── InputError (ValueError)       something the caller passed cannot be used
│   ├── ModelError                a model that is subclassed, unbuilt, dynamic, or holds NaN
│   ├── ModelFileError            a file that is not a readable model
│   ├── DataError                 data that does not match the model or its loss
│   ├── BudgetError               a limit that is negative, of an unknown unit, or beyond the board
│   ├── SpaceError                a search space that cannot be read or is empty
│   └── UnknownNameError          a board, backend … that nobody registered; lists the known
├── RefusedError                  a backend cannot run an operator: which, why, what would help
├── ConversionError               the converter or the quantizer failed on a valid model
├── TrialError                    one trial failed (crash, time-out, NaN loss); the search goes on
├── StudyError                    a study that cannot be read, or is of another model or budget
└── DeviceError                   anything at the far end of a wire
    ├── ToolchainError            no compiler or emulator, or it failed; carries its output
    ├── ImageError                an image that does not fit or does not build
    └── WireError                 a frame that never arrived whole, or the wrong device answered
        └── AbsentError           nobody there, or another: no port, no greeting, a broken line

Over budget is an outcome, not an error: it has no class here.
"""

from __future__ import annotations

from collections.abc import Iterable


class HwsearchError(Exception):
    """Root of every error that hwsearch raises on purpose."""


class InputError(HwsearchError, ValueError):
    """Something the caller passed cannot be used."""


class ModelError(InputError):
    """A Keras model that cannot be searched."""


class ModelFileError(InputError):
    """A file that is not a readable model."""


class DataError(InputError):
    """Data that does not match the model or its loss."""


class BudgetError(InputError):
    """A limit that cannot be meant."""


class SpaceError(InputError):
    """A search space that cannot be read, or leaves nothing to search."""


class UnknownNameError(InputError):
    """A name that nobody registered.

    Args:
        kind: what was looked up, e.g. ``"board"``.
        name: the name that was asked for.
        known: the names that exist.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        super().__init__(f"unknown {kind} {name!r}. Known: {', '.join(self.known) or '(none)'}")


class RefusedError(HwsearchError):
    """A backend cannot run an operator of the model."""


class ConversionError(HwsearchError):
    """The converter or the quantizer failed on a model that was valid going in."""


class TrialError(HwsearchError):
    """One trial failed; the search records it and goes on."""


class StudyError(HwsearchError):
    """A study that cannot be read, or that belongs to another model, data or budget."""


class DeviceError(HwsearchError):
    """Something went wrong at the far end of a wire."""


class ToolchainError(DeviceError):
    """A compiler, an emulator or what writes to a board is missing, or failed."""


class ImageError(DeviceError):
    """A firmware image that does not build, or does not fit the board."""


class WireError(DeviceError):
    """No valid reply arrived, or the wrong device answered."""


class AbsentError(WireError):
    """Nobody is at the far end, or another device: the port is not there, nobody greets, the one
    that does runs something else, or the line broke."""
