"""Cycles of each operator: what its kernel does (``kernels.py``) × coefficients fitted to boards.

``cycles = sum over quantities of amount × coefficient(core, runtime, version, kernel class)``,
the dispatch of the operator included; what an inference costs beside its operators is not in it
(no measurement tells it apart). Coefficients: ``hwsearch/calibrate.py``. Known error: per set in
``coefficients.json``, per kind of network in :func:`band`.

Weights of 4 bits and activations of 16 are taken to cost what int8 does: nobody published a
measurement of them. Float networks have no estimate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwsearch.cost.coefficients import ANY, Coefficients, CoefficientSet, known
from hwsearch.cost.columns import Columns
from hwsearch.cost.cost import Band, Floats
from hwsearch.cost.kernels import CLASSES, quantities
from hwsearch.graph import WEIGHT_OPS, Graph

SMALL_CYCLES = 2e6
"""Networks under so many cycles are dominated by what an inference costs beside its operators."""
SMALL = "small"
"""Their kind in :func:`band`."""

RANKING_ONLY = 0.30
"""Least half width of the band where nothing was measured: enough to rank, not to promise."""
GUESSED = "ranking only"
"""How the basis of such a band begins."""

CALIBRATED = "calibrated"
"""The version of ``aot`` that ``hwsearch calibrate --device`` gives coefficients."""

CORRECTION = "correction"
"""The one quantity of their sets: see :func:`corrections`."""

VERSIONS = {
    "tflm": ("2026",),
    "tflm-cmsis-nn": ("2026", "mlperf-v1.2", "mlperf-v0.7"),
    "x-cube-ai": ("10.2",),
    "microtvm-native": ("mlperf-v1.1",),
    "microtvm-cmsis-nn": ("mlperf-v1.1",),
    "aot": (CALIBRATED,),
}
"""What a runtime's bare name means: the first version that was measured on the core, else the
first. TFLite Micro of 2020 and 2.3.1, with other kernels, only when asked for."""

KIN = {"M0": "M0+", "M23": "M0+", "M3": "M4", "M55": "M85"}
"""The nearest core with coefficients, for cores that nobody measured."""


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
        runtime: as the published data name it; may end in a version: ``"x-cube-ai-8.1"``.
        version: of the runtime; defaults as :data:`VERSIONS` says.
        coefficients: defaults to :func:`hwsearch.cost.coefficients.known`.
    """
    chosen = coefficient_set(core, runtime, version, coefficients)
    if chosen is None or is_float(columns.graph):
        return None
    amounts, kernel = quantities(columns)
    if (kernel == kernel[:1]).all():  # all but always: one table serves the batch
        kernel = kernel[:1]
    result: Floats = np.einsum("noq,noq->no", amounts, chosen.table[kernel])
    return result


def is_float(graph: Graph) -> bool:
    """Whether any operator computes with float weights."""
    return any(
        graph.tensors[op.inputs[1]].dtype.startswith("float")
        for op in graph.ops
        if op.kind in WEIGHT_OPS
    )


def coefficient_set(
    core: str, runtime: str, version: str | None = None, coefficients: Coefficients | None = None
) -> CoefficientSet | None:
    """The set that :func:`cycles` uses: of this core, else of the nearest one, else None."""
    sets = (coefficients or known()).by_name
    name, version = _named(core, runtime, version, sets)
    bare = core.split("+")[0]  # "M33+MVP" is an M33 with an accelerator
    for candidate in (core, bare, KIN.get(bare, core)):
        if (candidate, name, version) in sets:
            return sets[candidate, name, version]
    return None


def _named(
    core: str,
    runtime: str,
    version: str | None,
    known: Mapping[tuple[str, str, str], CoefficientSet],
) -> tuple[str, str]:
    """(runtime, version) as the coefficients are keyed."""
    if runtime not in VERSIONS and version is None:
        for name in sorted(VERSIONS, key=len, reverse=True):
            if runtime.startswith(f"{name}-"):
                return name, runtime.removeprefix(f"{name}-")
    if version is None and runtime in VERSIONS:
        measured = (v for v in VERSIONS[runtime] if (core, runtime, v) in known)
        measured = (v for v in measured if known[core, runtime, v].rows)
        return runtime, next(measured, VERSIONS[runtime][0])
    return runtime, version or ""


def corrections(columns: Columns, core: str) -> Floats | None:
    """float64 [n, ops]: what a user's device took of each operator, over what its manual allows.

    For ``aot``, whose cycles are counted from the kernels' loops. None where no device was
    calibrated (``hwsearch calibrate --device``).
    """
    chosen = coefficient_set(core, "aot", CALIBRATED)
    if chosen is None:
        return None
    factors = np.array([chosen.cycles.get(f"{name}.{CORRECTION}", 1.0) for name in CLASSES])
    found: Floats = factors[quantities(columns)[1]]
    return found


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
    kind: str = ANY,
    coefficients: Coefficients | None = None,
) -> Band:
    """The 90 % interval of a whole network's cycles, relative to the estimate.

    From the residuals of families that were left out of the fit, of the narrowest group that has
    any: this core, runtime, version and kind of network; else any kind; else any version. A
    core on which nobody measured the runtime gets at least ±30 % and the words "ranking only".

    Args:
        kind: from :func:`kind_of`, or SMALL for a network below SMALL_CYCLES.
    """
    coefficients = coefficients or known()
    chosen = coefficient_set(core, runtime, version, coefficients)
    name, version = _named(core, runtime, version, coefficients.by_name)
    groups = {(r.core, r.runtime, r.version, r.kind): r for r in coefficients.residuals}
    rest = SMALL if kind == SMALL else ANY
    for key in ((core, name, version, kind), (core, name, version, rest), (core, name, ANY, rest)):
        if chosen is not None and key in groups:
            found = groups[key]
            what = " ".join(part for part in key if part != ANY)
            return Band(
                found.low,
                found.high,
                f"{what}: {found.rows} measured, of {_many(found.families, 'network family')}, "
                "each predicted by a fit that had not seen its family",
            )
    low, high = -RANKING_ONLY, RANKING_ONLY
    reason = f"nobody measured {runtime} on {core}"
    if rest == SMALL:
        reason += f" with a network below {SMALL_CYCLES:.0e} cycles"
    if chosen is not None:
        reason += f"; coefficients of {chosen.core}, {chosen.note or 'measured there'}"
        for key in ((ANY, name, ANY, ANY), (ANY, ANY, ANY, rest)):
            if key in groups:
                low, high = min(low, groups[key].low), max(high, groups[key].high)
    return Band(low, high, f"{GUESSED}: {reason}")


def _many(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun[:-1]}ies"
