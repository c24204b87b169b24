"""What is believed of each runtime's kernels before seeing data, and which runtimes share a fit.

Cycles are an M4's. They are round figures from the kernels' inner loops: SMLAD does two
multiply-accumulates, with loads, widening and flash wait states 1.5 to 3 cycles are left of each
(Lai, Suda, Chandra 2018, CMSIS-NN); requantization is some 20 instructions; a copy call of im2col
some 40. The published data move them; :mod:`hwsearch.cost.fit` says how far.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsearch.cost.fit import Cell, Level
from hwsearch.cost.kernels import CLASSES


@dataclass(frozen=True)
class Tree:
    """The runtimes that share a hierarchy.

    Attributes:
        runtimes: their names.
        prior: feature to cycles; a feature is ``"class.quantity"`` or ``"class|class.quantity"``.
        levels: the hierarchy, widest first.
        core_scale: per core the cycles relative to an M4's that are expected before seeing data.
        asked: per runtime (cores, versions) that get coefficients even where nobody measured.
    """

    runtimes: tuple[str, ...]
    prior: dict[str, float]
    levels: tuple[Level, ...]
    core_scale: dict[str, float]
    asked: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]

    def scale(self, cell: Cell) -> float:
        """``core_scale`` of a cell; 1 for a core that is not in it."""
        return self.core_scale.get(cell[0], 1.0)

    @property
    def kin(self) -> dict[str, str]:
        """Features that move together: the same quantity, for the loops are the same code."""
        return {
            feature: feature.split(".")[1]
            for feature in self.prior
            if "." in feature and not feature.startswith("depthwise")
        }


def spread(feature: str) -> tuple[tuple[str, ...], str]:
    """The kernel classes and the quantity of a feature; ``"op"`` is ``one`` of all that run."""
    if feature == "op":
        return tuple(name for name in CLASSES if name != "free"), "one"
    names, quantity = feature.split(".")
    return tuple(names.split("|")), quantity


SIMD_SCALE = {"M0+": 4.8, "M4": 1.0, "M7": 0.57, "M33": 0.83, "M85": 0.11}
"""Cycles of SIMD kernels relative to an M4's, before seeing the runtime's own data: geometric
means over ResNet-8 and DS-CNN of submissions that ran one runtime on several cores (MLPerf Tiny:
bosch-hale, plumerai, x-cube-ai; M85: Renesas' TFLite Micro against microTVM, both CMSIS-NN)."""

SCALAR_SCALE = {"M0+": 1.39, "M4": 1.0, "M7": 0.68, "M33": 0.85, "M85": 0.54}
"""The same of plain C: inverse of Arm's CoreMark/MHz (2.46, 3.42, 5.01, 4.02, 6.28)."""


def _everything(cell: Cell) -> str:
    return "all"


def _core(cell: Cell) -> str:
    return cell[0]


def _runtime_version(cell: Cell) -> str:
    return f"{cell[1]} {cell[2]}"


def _cell(cell: Cell) -> str:
    return "/".join(cell)


def _of_2020(cell: Cell) -> str | None:
    """TFLite Micro of 2020 stands alone: other depthwise and pooling kernels, -Ofast."""
    return cell[1] if cell[2].startswith("2020") else None


XCUBE = Tree(
    ("x-cube-ai",),
    {
        "op": 2000.0,
        "conv.mac": 1.5, "conv.col": 3.0, "conv.px": 50.0, "conv.patch": 8.0, "conv.out": 20.0,
        "conv.odd": 0.3, "conv.half": 0.1,
        "first.mac": 2.5, "first.col": 4.0, "first.px": 50.0, "first.patch": 8.0,
        "first.out": 25.0,
        "point.mac": 1.6, "point.px": 50.0, "point.out": 20.0, "point.odd": 0.5,
        "point.half": 0.3,
        "depthwise.mac": 5.0, "depthwise.px": 50.0, "depthwise.out": 30.0, "depthwise.odd": 1.0,
        "depthwise.half": 0.3,
        "dense.mac": 3.0, "dense.out": 30.0, "dense.odd": 0.3, "dense.half": 0.15,
        "pool|mean.mac": 10.0, "elementwise.out": 25.0, "copy.out": 5.0, "softmax.out": 400.0,
        "cast.out": 15.0, "activation.out": 20.0,
    },
    (
        Level(_everything, 0.5, 0.3, 0.15),
        Level(_core, 0.5, 0.0, 0.1),
        Level(_runtime_version, 0.3, 0.0, 0.1),
        Level(_cell, 0.1, 0.0, 0.0),
    ),
    SIMD_SCALE,
    {"x-cube-ai": (("M4", "M7", "M33"), ("7.1", "7.3", "8.0", "8.1", "9.0", "10.2"))},
)  # fmt: skip

_TFLM_LEVELS = (
    Level(_everything, 0.3, 0.15, 0.15),
    Level(_of_2020, 1.0, 0.0, 1.0),
    Level(_core, 0.3, 0.0, 0.1),
    Level(_runtime_version, 0.5, 0.2, 0.2),
    Level(_cell, 0.2, 0.0, 0.0),
)

CMSIS = Tree(
    ("tflm-cmsis-nn", "microtvm-cmsis-nn"),
    {
        "op": 2000.0,
        "conv|first.mac": 2.8, "conv|first.col": 3.0, "conv|first.px": 400.0,
        "conv|first.patch": 50.0, "conv|first.out": 50.0, "conv|first.odd": 0.3,
        "conv|first.half": 0.1,
        "point.mac": 2.5, "point.px": 50.0, "point.out": 50.0, "point.odd": 0.5,
        "point.half": 0.3,
        "depthwise.mac": 5.0, "depthwise.px": 400.0, "depthwise.patch": 50.0,
        "depthwise.out": 50.0, "depthwise.odd": 1.0, "depthwise.half": 0.3,
        "dense.mac": 2.5, "dense.out": 50.0, "dense.odd": 0.3, "dense.half": 0.15,
        "dense.far": 0.4,
        "pool|mean.mac": 10.0, "pool|mean.out": 20.0, "elementwise.out": 25.0, "copy.out": 5.0,
        "softmax.out": 500.0, "cast.out": 30.0, "reshape.out": 8.0, "activation.out": 30.0,
    },
    _TFLM_LEVELS,
    SIMD_SCALE,
    {
        "tflm-cmsis-nn": (("M0+", "M4", "M7", "M33", "M85"), ("2020", "2.3.1", "2026")),
        "microtvm-cmsis-nn": (("M4", "M7", "M33"), ("mlperf-v1.0", "mlperf-v1.1")),
    },
)  # fmt: skip

REFERENCE = Tree(
    ("tflm", "microtvm-native"),
    {
        "op": 2000.0,
        "conv|first|point.mac": 10.0, "conv|first|point.tap": 30.0, "conv|first|point.out": 80.0,
        "conv|first|point.px": 100.0,
        "depthwise.mac": 50.0, "depthwise.out": 80.0, "depthwise.px": 100.0,
        "dense.mac": 8.0, "dense.out": 60.0,
        "pool|mean.mac": 15.0, "pool|mean.out": 60.0, "elementwise.out": 80.0, "copy.out": 5.0,
        "softmax.out": 500.0, "cast.out": 30.0, "reshape.out": 8.0, "activation.out": 60.0,
    },
    _TFLM_LEVELS,
    SCALAR_SCALE,
    {
        "tflm": (("M0+", "M4", "M7", "M33", "M85"), ("2020", "2026")),
        "microtvm-native": (("M4", "M7", "M33"), ("mlperf-v1.0", "mlperf-v1.1")),
    },
)  # fmt: skip

TREES = (XCUBE, CMSIS, REFERENCE)
