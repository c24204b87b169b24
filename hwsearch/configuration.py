"""Configuration: one frozen choice of what a Space may vary."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property


@dataclass(frozen=True)
class Configuration:
    """One frozen choice.

    Attributes:
        widths: channels kept of each group of the layout.
        saliency: by which the kept ones were chosen.
        backend: the runtime.
        activation_bits: of all activations.
        weight_bits: of each operator of the layout.
        schedule: when the others were cut.
        sparsity: share of the weights of convolutions and dense layers that are zero.
        pattern: where the zeros may be: ``"any"``, or ``"2:4"``, two of four in a row.
        clusters: values that the weights of each such layer share; 0 is any number.
        qat: whether training met the weights and activations as they are quantized.
        trainer: who made zeros, shared values and QAT: ``"keras"`` (ours) or ``"tfmot"``.
        rung: of its fine-tune, see :attr:`Space.ladder`: 0 is the first, others were promoted
            to. The digests leave it out: a promotion is of the same choice.
        method: how the widths came about: structured, those asked for; differentiable, found by
            gates inside a share of the limits, namely what the widths asked for take of them.
        dropped: residual blocks that are their shortcut alone, by name; groups that went with them
            have their full width, operators 8 bits.
        distillation: weight of the original's outputs in the loss of its training, as asked for.
        asked: of a leaf of a differentiable training, the configuration that asked for it; None
            where that is this one.
    """

    widths: tuple[int, ...]
    saliency: str
    backend: str
    activation_bits: int
    weight_bits: tuple[int, ...]
    schedule: str = "one-shot"
    sparsity: float = 0.0
    pattern: str = "any"
    clusters: int = 0
    qat: bool = False
    trainer: str = "keras"
    rung: int = 0
    method: str = "structured"
    dropped: tuple[str, ...] = ()
    distillation: float = 0.5
    asked: Configuration | None = None

    @cached_property
    def structure(self) -> str:
        """Digest of what has to be trained.

        The backend has no part in it, nor have the bits, unless training meets them (QAT) or
        gates are trained for what they cost.
        """
        if self.asked is not None:
            return self.asked.structure
        if self.method == "differentiable":
            bits = [self.backend, self.activation_bits, self.weight_bits]
            return _digest([self.method, self.widths, self.distillation, *bits])
        parts: list[object] = [self.widths, self.saliency, self.schedule, self.distillation]
        if self.dropped:
            parts += [self.dropped]
        if self.is_elementwise:
            parts += [self.sparsity, self.pattern, self.clusters, self.trainer]
        return _digest([*parts, self.activation_bits, self.weight_bits] if self.qat else parts)

    @property
    def is_elementwise(self) -> bool:
        """Whether training does something to single weights: zeros, shared values or QAT."""
        return self.sparsity > 0 or self.clusters > 0 or self.qat

    @property
    def plain(self) -> Configuration:
        """The same without QAT."""
        return replace(self, qat=False)

    @property
    def training(self) -> str:
        """Names what was trained: a structure, and from the second on its rung."""
        return f"{self.structure}-{self.rung}" if self.rung else self.structure

    @cached_property
    def digest(self) -> str:
        """Digest of the whole choice."""
        return _digest([self.structure, self.backend, self.activation_bits, self.weight_bits])

    def leaf(
        self, backend: str, activation_bits: int, weight_bits: tuple[int, ...]
    ) -> Configuration:
        """What else the training of this structure can serve."""
        asked = self.asked or self if self.method == "differentiable" else None
        return replace(
            self,
            backend=backend,
            activation_bits=activation_bits,
            weight_bits=weight_bits,
            asked=asked,
        )

    def found(self, widths: tuple[int, ...]) -> Configuration:
        """The same leaf with the widths that its training found; digests stay."""
        return replace(self, widths=widths, asked=self.asked or self)

    def __str__(self) -> str:
        low = sum(b < 8 for b in self.weight_bits)
        bits = f"a{self.activation_bits} w8" + (f"/w4×{low}" if low else "")
        also = f" {self.sparsity:.0%} zeros" if self.sparsity else ""
        also += " 2:4" if self.sparsity and self.pattern == "2:4" else ""
        also += f" {self.clusters} values" if self.clusters else ""
        also += " QAT" if self.qat else ""
        also += " by tfmot" if self.trainer == "tfmot" else ""
        also += "" if self.method == "structured" else f" {self.method}"
        also += "" if self.distillation else " by labels alone"
        also += f" without {', '.join(self.dropped)}" if self.dropped else ""
        return f"{self.backend} {bits} widths {'-'.join(map(str, self.widths))}{also}"


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
