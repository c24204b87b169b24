"""Configuration: one frozen choice of what a Space may vary."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
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
        rung: of its fine-tune, see :attr:`Space.ladder`: 0 is the first, others were promoted
            to. The digests leave it out: a promotion is of the same choice.
    """

    widths: tuple[int, ...]
    saliency: str
    backend: str
    activation_bits: int
    weight_bits: tuple[int, ...]
    schedule: str = "one-shot"
    rung: int = 0

    @cached_property
    def structure(self) -> str:
        """Digest of what has to be trained: bits and backend have no part in it."""
        return _digest([self.widths, self.saliency, self.schedule])

    @property
    def training(self) -> str:
        """Names what was trained: a structure, and from the second on its rung."""
        return f"{self.structure}-{self.rung}" if self.rung else self.structure

    @cached_property
    def digest(self) -> str:
        """Digest of the whole choice."""
        return _digest([self.structure, self.backend, self.activation_bits, self.weight_bits])

    def __str__(self) -> str:
        low = sum(b < 8 for b in self.weight_bits)
        bits = f"a{self.activation_bits} w8" + (f"/w4×{low}" if low else "")
        return f"{self.backend} {bits} widths {'-'.join(map(str, self.widths))}"


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
