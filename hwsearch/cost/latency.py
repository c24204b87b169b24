"""Cycles of each operator: what its kernel does (``kernels.py``) × coefficients fitted to boards.

``cycles = sum over quantities of amount × coefficient(core, runtime, version, kernel class)``,
the dispatch of the operator included; what an inference costs beside its operators is not in it
(no measurement tells it apart). Coefficients: ``calibrate.py``. Known error: per set in
``coefficients.json``, per kind of network in :func:`band`.
"""

from __future__ import annotations

import numpy as np

from hwsearch.cost.coefficients import Coefficients, CoefficientSet, shipped
from hwsearch.cost.columns import Columns
from hwsearch.cost.cost import Band, Floats
from hwsearch.cost.kernels import quantities
from hwsearch.graph import Graph

SMALL_CYCLES = 2e6
"""Networks under so many cycles are dominated by what an inference costs beside its operators."""

RANKING_ONLY = 0.30
"""Band where nothing was measured: enough to rank, not to promise."""

NEWEST = {
    "tflm": "2026", "tflm-cmsis-nn": "2026", "x-cube-ai": "10.2", "microtvm-native": "mlperf-v1.1",
    "microtvm-cmsis-nn": "mlperf-v1.1",
}  # fmt: skip
"""The version that a runtime's bare name means."""

KIN = {"M3": "M4", "M23": "M0+", "M0": "M0+", "M55": "M85"}
"""The nearest core with coefficients, for cores nobody measured."""


def cycles(
    columns: Columns,
    core: str,
    runtime: str,
    version: str | None = None,
    coefficients: Coefficients | None = None,
) -> Floats | None:
    """float64 [n, ops]: core cycles of each operator, dispatch included; None where unknown.

    Args:
        columns: n candidates.
        core: as :class:`hwsearch.board.Board` names it.
        runtime: as the published data name it; ``"x-cube-ai-8.1"`` names its version itself.
        version: of the runtime; defaults to the newest known.
        coefficients: defaults to those shipped.
    """
    chosen = coefficient_set(core, runtime, version, coefficients)
    if chosen is None or any(
        columns.graph.tensors[op.inputs[0]].dtype in ("float32", "float16")
        for op in columns.graph.ops
        if op.kind in ("conv_2d", "depthwise_conv_2d", "fully_connected")
    ):
        return None
    amounts, kernel = quantities(columns)
    result: Floats = np.einsum("noq,noq->no", amounts, chosen.table[kernel])
    return result


def coefficient_set(
    core: str, runtime: str, version: str | None = None, coefficients: Coefficients | None = None
) -> CoefficientSet | None:
    """The set that :func:`cycles` uses: of this core, else of the nearest one, else None."""
    known = (coefficients or shipped()).by_name
    name, version = _split(runtime, version)
    plain = core.split("+")[0] if core not in ("M0+",) else core
    for candidate in (core, plain, KIN.get(core, core)):
        found = known.get((candidate, name, version))
        if found is not None:
            return found
    return None


def _split(runtime: str, version: str | None) -> tuple[str, str]:
    """(runtime, version) of a name that may carry its version."""
    if version is None:
        for name in NEWEST:
            if runtime.startswith(name + "-") and runtime not in NEWEST and name == "x-cube-ai":
                return name, runtime[len(name) + 1 :]
    return runtime, version or NEWEST.get(runtime, "")


def kind_of(graph: Graph) -> str:
    """``"depthwise"``, ``"conv"`` or ``"dense"``: what sort of network it is, coarsely."""
    kinds = {op.kind for op in graph.ops}
    if "depthwise_conv_2d" in kinds:
        return "depthwise"
    return "conv" if kinds & {"conv_2d", "transpose_conv"} else "dense"


def band(
    core: str,
    runtime: str,
    version: str | None = None,
    kind: str = "*",
    coefficients: Coefficients | None = None,
) -> Band:
    """The 90 % interval of the whole network's cycles, relative to the estimate.

    From residuals of families left out of the fit, of the narrowest group that has any: this
    core, runtime, version and kind of network; else without the kind; else any version; else
    any core.

    Args:
        kind: from :func:`kind_of`, or ``"small"`` below SMALL_CYCLES.
    """
    known = coefficients or shipped()
    chosen = coefficient_set(core, runtime, version, known)
    name, version = _split(runtime, version)
    if chosen is None or chosen.core != core:
        borrowed = f"with the coefficients of {chosen.core}" if chosen else "no coefficients"
        return Band(
            -RANKING_ONLY,
            RANKING_ONLY,
            f"ranking only: nobody measured {runtime} on {core} ({borrowed}); ±30 % is a "
            "convention, not a result",
        )
    groups = {(r.core, r.runtime, r.version, r.kind): r for r in known.residuals}
    for key in (
        (core, name, version, kind),
        (core, name, version, "*"),
        (core, name, "*", "*"),
        ("*", name, "*", "*"),
    ):
        found = groups.get(key)
        if found is not None:
            what = " ".join(part for part in key if part != "*")
            return Band(
                found.low,
                found.high,
                f"{found.rows} measurements of {found.families} network families ({what}), "
                "each predicted by a fit that had not seen its family",
            )
    return Band(-RANKING_ONLY, RANKING_ONLY, f"ranking only: no residuals of {runtime} on {core}")
