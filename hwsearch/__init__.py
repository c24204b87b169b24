"""Keras AutoML under a microcontroller's budget: :func:`optimize` is the front door.

Names load when they are first used, so that ``import hwsearch`` costs milliseconds and never
imports TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsearch import device
    from hwsearch.board import Board, boards
    from hwsearch.budget import Budget
    from hwsearch.errors import HwsearchError
    from hwsearch.estimation import estimate
    from hwsearch.optimization import optimize
    from hwsearch.proof import verify
    from hwsearch.report import Report
    from hwsearch.search.front_sampler import FrontSampler
    from hwsearch.space import Space
    from hwsearch.tuner.hardware_tuner import HardwareTuner

__version__ = "0.1.0"

__all__ = [
    "Board",
    "Budget",
    "FrontSampler",
    "HardwareTuner",
    "HwsearchError",
    "Report",
    "Space",
    "boards",
    "device",
    "estimate",
    "optimize",
    "verify",
]

_HOME = {
    "Board": "board",
    "boards": "board",
    "Budget": "budget",
    "FrontSampler": "search.front_sampler",
    "HardwareTuner": "tuner.hardware_tuner",
    "HwsearchError": "errors",
    "Report": "report",
    "Space": "space",
    "estimate": "estimation",
    "optimize": "optimization",
    "verify": "proof",
}


def __getattr__(name: str) -> Any:
    if name == "device":
        return import_module("hwsearch.device")
    if name not in _HOME:
        raise AttributeError(f"module 'hwsearch' has no attribute {name!r}")
    return getattr(import_module(f"hwsearch.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
