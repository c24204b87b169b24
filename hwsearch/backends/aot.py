"""``aot``: C generated ahead of time (:mod:`hwsearch.codegen`), compiled and linked by us.

RAM is the compiler's own plan, byte for byte, and the stack that was measured on emulated cores.
Flash is what the compiler writes (packed weights, biases, requantization, tables), the sections of
the kernels that a network links, and the code of its calls; both from images linked here. Weights
that are sparse or clustered are stored as the compiler would: see aot_formats.py. Cycles
are instructions (trip counts of the kernels' loops × what a turn takes, exact emulated counts)
times what an instruction takes by the core's manual. ``make bench-aot-cost`` measures anew and
prints how far each is off.

What it does not know: flash wait states, caches and bus contention; the scale of a candidate's
logits (softmax's table); layers whose activations are clamped inside int8's range or whose sums
are not proven narrow (the quick paths are counted); the amounts of a folded padding; of networks
still to be trained the channels that fine-tuning leaves dead, which the compiler drops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from hwsearch.backends.aot_cycles import DSP, KINDS, instructions, kinds, turns, variant
from hwsearch.backends.aot_flash import flash_bytes
from hwsearch.backends.aot_formats import chosen
from hwsearch.backends.aot_layers import groups
from hwsearch.backends.aot_measured import Target, compiler, target
from hwsearch.backends.aot_memory import arena
from hwsearch.backends.backend import RamColumns, Refusal
from hwsearch.codegen import refuse
from hwsearch.codegen.dead import without_dead_channels
from hwsearch.codegen.formats import SLOWDOWN, counted
from hwsearch.codegen.refuse_numbers import refusals_of
from hwsearch.cost import latency
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Band, Floats
from hwsearch.graph import Graph
from hwsearch.graph.tflite import TfliteModel

MARGIN, STAND_IN, TWIN = 0.005, 0.15, 0.03
"""What bands are widened by: the extremes of some 30 networks are not those of all; and at least
where another core's or compiler's code stands in: gcc's and clang's kernels differ by so much. The
M0+ is the M0's twin: linked for the Pico, both MLPerf models have the M0's code to the byte, and
268 bytes of its boot loader."""


def stack_bytes(columns: Columns, measured: Target, forms: Ints | None = None) -> Ints:
    """int64 [n]: of ``model_invoke`` and the deepest kernel.

    Args:
        columns: n candidates.
        measured: what holds on the core.
        forms: int64 [n, ops], how weights are stored; None is dense.
    """
    frame = deepest = np.zeros(len(columns), np.int64)
    for group in groups(columns.graph):
        stored = kinds(columns, group, forms)
        for kind in np.unique(stored).tolist():
            there = stored == kind
            name = variant(group.kernel, KINDS[kind]).removesuffix(" int4")
            called = np.where(there.any(axis=1), measured.frame_bytes.get(name, 0), 0)
            frame = np.maximum(frame, called)
            known: Mapping[str, int] = measured.stack_bytes.get(name, {})
            for loop, times in turns(columns, group, kind, measured.core in DSP).items():
                runs = ((times > 0) & there).any(axis=-1)
                deepest = np.maximum(deepest, np.where(runs, known.get(loop, 0), 0))
    return frame + deepest


@lru_cache(maxsize=64)
def _bands(core: str, built_by: str) -> dict[str, Band]:
    measured = target(core, built_by)
    stands = (measured.core, measured.compiler) != (core, built_by)
    twin = (core, built_by) == ("M0+", measured.compiler) and measured.core == "M0"
    memory = TWIN if twin else STAND_IN
    found = {}
    for name in ("flash_bytes", "ram_bytes", "latency_s"):
        low, high = measured.bands[name]
        widest = (STAND_IN if name == "latency_s" else memory) if stands else 0.0
        basis = f"{measured.judged} unseen networks on {measured.core}, {measured.version}"
        if name == "latency_s":
            basis = (
                f"instructions within {100 * max(map(abs, measured.bands['instructions'])):.1f} % "
                f"on {basis}; cycles an instruction by the core's manual, zero wait states, "
                "no silicon seen"
            )
            if measured.core == "M0":
                basis += "; a multiplier of one cycle"
        if stands:
            basis += f"; stands in for {core}, {built_by}"
        found[name] = Band(min(low - MARGIN, -widest), max(high + MARGIN, widest), basis)
    return found


@dataclass(frozen=True)
class Aot:
    """Generated C on one core.

    Attributes:
        core: whose code and stack are meant; instructions are of the core that is asked for.
        compiler: ``"gcc"`` or ``"zig"``; None is what an image would be built with here.
        slowdown: cycles that sparse or clustered weights may cost, as a multiple of the same
            weights stored dense, for a smaller image.
        most_cycles: that an inference may take, as far as such weights have a say.
    """

    name: str = "aot"
    activation_bits: tuple[int, ...] = (8, 16)
    weight_bits: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"conv_2d": (8, 4), "fully_connected": (8, 4)}
    )
    buildable: bool = True
    core: str = "M4"
    compiler: str | None = None
    slowdown: float = SLOWDOWN
    most_cycles: float = math.inf

    @property
    def measured(self) -> Target:
        """Of the core and compiler."""
        return target(self.core, self.compiler)

    def on_core(self, core: str) -> Aot:
        """The same for another core."""
        return self if core == self.core else replace(self, core=core)

    def within(self, most_cycles: float) -> Aot:
        """The same under a limit of cycles."""
        return self if most_cycles == self.most_cycles else replace(self, most_cycles=most_cycles)

    @property
    def bands(self) -> dict[str, Band]:
        """What networks that no fit had seen deviated at most, a little widened; of time the
        bounds that the core's manual leaves."""
        return dict(_bands(self.core, self.compiler or compiler()))

    def refusals(self, graph: Graph) -> list[Refusal]:
        """See :mod:`hwsearch.codegen.refuse`."""
        return refuse.refusals(graph)

    def columns_of(self, model: TfliteModel) -> Columns:
        """The network that the compiler makes of a file: no dead channels, weights counted.

        One with numbers that the compiler refuses stays as it is.
        """
        if refusals_of(model):
            return Columns.of(model.graph)
        live = without_dead_channels(model)
        return Columns.of(live.graph, counted(live))

    def forms(self, columns: Columns) -> Ints | None:
        """int64 [n, ops]: how weights are stored; see :func:`aot_formats.chosen`."""
        return chosen(columns, self.measured, self.slowdown, self.most_cycles)

    def ram(self, columns: Columns) -> RamColumns:
        """Arena exact; persistent: what rounds it up to words."""
        forms = self.forms(columns)
        planned = np.maximum(arena(columns, forms), 8)
        return RamColumns(planned, -planned % 4, stack_bytes(columns, self.measured, forms))

    def flash(self, columns: Columns) -> Ints:
        """The linked image without wire, commands and port."""
        return flash_bytes(columns, self.measured, self.forms(columns))

    def cycles(self, columns: Columns, core: str) -> Floats | None:
        """The middle of what the core's manual allows, corrected where a device was calibrated."""
        measured = target(core, self.compiler)
        _, low, high = instructions(columns, measured, self.forms(columns))
        middle: Floats = (low + high) / 2
        corrections = latency.corrections(columns, core)
        return middle if corrections is None else middle * corrections


BACKENDS = (Aot(),)
