"""Layout: what of one model a search can vary, whole and without some of its residual blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwsearch.cost.columns import Ints


@dataclass(frozen=True)
class Depth:
    """A model without some of its residual blocks, as part of the whole.

    Attributes:
        dropped: names of the blocks.
        groups: of its channel groups, in its order, the index in the whole's.
        names: what it calls them.
        ops: of its operators with weights, in its order, the index in the layout's.
        op_indexes: their index in its own float network.
    """

    dropped: tuple[str, ...]
    groups: tuple[int, ...]
    names: tuple[str, ...]
    ops: tuple[int, ...]
    op_indexes: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """What of one model can vary: its channel groups and its operators with weights.

    Attributes:
        groups: name, full width and least width of each channel group.
        ops: name, kind and weight elements of each operator whose bits can vary, in order.
        sensitivity: per operator the error that low bits of it alone add to the outputs, see
            ``compress/sensitivity.py``; () is not measured.
        together: per saliency of the space and pruning ratio the channels of each group that
            stay when all are ranked as one; empty unless the space asks for it.
        zeros: per sparsity of the space the share of zeros of each operator's weights, see
            :func:`hwsearch.compress.elementwise.spread`; empty is the sparsity itself.
        treated: per operator whether training gives its weights zeros and shared values; empty is
            all.
        depths: of each number of blocks that the space may drop; empty where it drops none.
    """

    groups: tuple[tuple[str, int, int], ...]
    ops: tuple[tuple[str, str, int], ...]
    together: tuple[tuple[tuple[int, ...], ...], ...] = ()
    depths: tuple[Depth, ...] = ()
    sensitivity: tuple[float, ...] = ()
    zeros: tuple[tuple[float, ...], ...] = ()
    treated: tuple[bool, ...] = ()

    @cached_property
    def lowered_first(self) -> Ints:
        """int64 [ops]: operators in the order in which their bits are lowered.

        The one whose low bits add the least error for each weight that they shrink comes first;
        where that was not measured, the one with most weights.
        """
        sizes = np.array([size for _, _, size in self.ops], np.float64)
        errors = np.array(self.sensitivity) if self.sensitivity else np.ones(len(sizes))
        return np.argsort(errors / np.maximum(sizes, 1), kind="stable")

    @cached_property
    def has(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """bool [depths, groups] and [depths, ops]: what each depth still has."""
        groups = np.zeros((len(self.depths), len(self.groups)), bool)
        ops = np.zeros((len(self.depths), len(self.ops)), bool)
        for row, depth in enumerate(self.depths):
            groups[row, list(depth.groups)] = True
            ops[row, list(depth.ops)] = True
        return groups, ops

    def depth(self, dropped: tuple[str, ...]) -> Depth | None:
        """The depth without these blocks; None is the whole."""
        return next((d for d in self.depths if d.dropped == dropped), None)
