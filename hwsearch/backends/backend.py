"""Backend: a runtime on a core: what it refuses, how it plans memory, what its code takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Floats
from hwsearch.graph import Graph


@dataclass(frozen=True)
class Refusal:
    """One operator that a backend cannot run.

    Attributes:
        op_index, kind: which operator of the graph.
        reason: why; the rule's own docstring.
        remedy: what would help.
    """

    op_index: int
    kind: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"operator {self.op_index} ({self.kind}): {self.reason} {self.remedy}"


@dataclass(frozen=True)
class RamColumns:
    """What one inference takes of RAM, by part; int64 [n] each.

    Attributes:
        arena: activations and scratch, as the backend's planner lays them out.
        persistent: what the runtime keeps beside it (structures, per-channel parameters).
        stack: of the deepest kernel, where the backend knows it, else 0.
    """

    arena: Ints
    persistent: Ints
    stack: Ints

    @property
    def total(self) -> Ints:
        """int64 [n]: all parts."""
        return self.arena + self.persistent + self.stack


class Backend(Protocol):
    """A deployment backend; own ones register under the entry point group ``hwsearch.backends``.

    Attributes:
        name: as users and the published data spell it.
        activation_bits: bit widths of activations that it runs.
        weight_bits: per operator kind the bit widths of weights that it runs (8 everywhere else).
        buildable: whether its artefacts can be proven here; others are searched when asked for.
    """

    name: str
    activation_bits: tuple[int, ...]
    weight_bits: dict[str, tuple[int, ...]]
    buildable: bool

    def refusals(self, graph: Graph) -> list[Refusal]:
        """Every operator of a quantized graph that it cannot run; empty when it runs them all."""
        ...

    def ram(self, columns: Columns) -> RamColumns:
        """What one inference takes of RAM."""
        ...

    def flash(self, columns: Columns) -> Ints:
        """int64 [n]: bytes of the whole image: model, kernels linked, runtime, start-up."""
        ...

    def cycles(self, columns: Columns, core: str) -> Floats | None:
        """float64 [n, ops]: core cycles of each operator; None where nothing is known."""
        ...
