"""Space: what a search may vary, and how its trials train."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from hwsearch import space_schema
from hwsearch.errors import SpaceError

STRUCTURED_ONLY = ("schedule", "sparsity", "pattern", "clusters", "qat", "drop_blocks")
"""What a differentiable trial does not have."""


@dataclass(frozen=True)
class Space:
    """What a search may vary, and how each trial trains.

    Attributes:
        pruning_ratio: shares of a channel group's channels that may be removed, rising.
        multiple_of: widths are rounded to a multiple of one of these (kernels read channels by
            fours); a searched choice where there are several.
        saliency: measures by which channels are ranked: l1, l2, taylor, apoz, bn, random; see
            ``compress/saliency.py``.
        schedule: whether a trial cuts at once or in steps with training between them: one-shot,
            iterative, agp; see ``compress/schedule.py``. Zeros come by it too.
        sparsity: shares of the weights of convolutions and dense layers that may be zero,
            rising. Only runtimes that store zeros for less gain by it (``aot``).
        pattern: where zeros may be: any, or 2:4 (two of four in a row: one half, whichever
            sparsity above 0 is drawn with it).
        clusters: how many values the weights of such a layer may share: 16, 32, or 0, any
            number. Only runtimes that store shared values for less gain by it (``aot``, by 16).
        qat: whether a trial trains with weights and activations as they are quantized; its plain
            twin is trained and scored beside it.
        trainer: of sparsity, clusters and qat: keras, or tfmot, which falls back to keras for
            layers that it refuses.
        method: structured cuts a trial's widths by saliency; differentiable takes from them only
            what share of the limits to aim at, and finds widths of that cost by gates trained
            with the weights; see ``compress/differentiable.py``. Such a trial has no saliency,
            schedule, sparsity, clusters or qat, and keeps all blocks.
        ratios: per-group draws a pruning ratio for each channel group; global draws one, the
            share of all channels that goes, the least salient first whichever group they are in.
        drop_blocks: how many residual blocks may become their shortcut alone, rising; the least
            salient first, see ``compress/depth.py``.
        weight_bits, activation_bits: bit widths to try, where the backend runs them.
        epochs: of the fine-tune of each trial; 0 trains nothing.
        rungs: longer fine-tunes, rising from ``epochs``, each in epochs from the first one on.
            The front's are promoted from one to the next, and go on from the weights that they
            have, see ``search/promotion.py``; finalists reach the last. Empty promotes nothing.
        learning_rate: at the start of a fine-tune; falls to 0 as a half cosine.
        batch_size: of the fine-tune.
        samples: at most so many training samples an epoch; 0 is all of them.
        distillation: weights of the original's outputs in the loss of a fine-tune, 0 to 1; the
            labels have the rest. A searched choice: which is better depends on the network.
            Models and losses that cannot be distilled say so.
        temperature: by which logits are divided in distillation, from 1.

    Raises:
        SpaceError: a list is empty or holds what cannot be searched, or a choice can never act
            beside the others.
    """

    pruning_ratio: tuple[float, ...] = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
    multiple_of: tuple[int, ...] = (4,)
    saliency: tuple[str, ...] = ("l1", "l2")
    schedule: tuple[str, ...] = ("one-shot",)
    sparsity: tuple[float, ...] = (0.0,)
    pattern: tuple[str, ...] = ("any",)
    clusters: tuple[int, ...] = (0,)
    qat: tuple[bool, ...] = (False,)
    trainer: tuple[str, ...] = ("keras",)
    method: tuple[str, ...] = ("structured",)
    ratios: tuple[str, ...] = ("per-group",)
    drop_blocks: tuple[int, ...] = (0,)
    weight_bits: tuple[int, ...] = (8, 4)
    activation_bits: tuple[int, ...] = (8, 16)
    epochs: int = 2
    rungs: tuple[int, ...] = ()
    learning_rate: float = 2e-3
    batch_size: int = 64
    samples: int = 0
    distillation: tuple[float, ...] = (0.5, 0.0)
    temperature: float = 4.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if said := space_schema.problem(f.name, value):
                raise SpaceError(said)
            if isinstance(value, list):
                object.__setattr__(self, f.name, tuple(value))
        if self.rungs and not 0 < self.epochs < self.rungs[0]:
            raise SpaceError(
                f"rungs={self.rungs} go on from epochs={self.epochs}. Give epochs from 1, and "
                "rungs of more."
            )
        if said := self._idle():
            raise SpaceError(said)

    def _idle(self) -> str:
        """Which choice can never act beside the others, and what to do; "" if there is none."""
        if "differentiable" in self.method and 0 not in self.drop_blocks:
            return (
                f"drop_blocks={self.drop_blocks} leaves a differentiable trial no choice: it "
                'keeps all blocks. Put 0 among them, or give method=("structured",).'
            )
        idle = [
            f"{f.name}={getattr(self, f.name)}"
            for f in fields(self)
            if f.name in STRUCTURED_ONLY and getattr(self, f.name) != f.default
        ]
        if self.method == ("differentiable",) and idle:
            return (
                f"differentiable pruning trains gates alone: {', '.join(idle)} would never act. "
                'Leave them out, or put "structured" among method.'
            )
        if True in self.qat and 8 not in self.activation_bits:
            return (
                f"qat={self.qat} would never act at activation_bits={self.activation_bits}: it "
                "trains for 8. Put 8 among them, or leave qat out."
            )
        shares = [share for share in self.sparsity if share]
        if "2:4" in self.pattern and not shares:
            return (
                f"pattern={self.pattern} is of zeros, and there are none. Give e.g. "
                "sparsity=(0.0, 0.5)."
            )
        if self.pattern == ("2:4",) and shares != [0.5]:
            return (
                f"sparsity={self.sparsity} would never act: 2:4 is a sparsity of one half. Give "
                'sparsity=(0.0, 0.5), or put "any" among pattern.'
            )
        return ""

    @property
    def ladder(self) -> tuple[int, ...]:
        """Epochs of each rung: those of a trial, then those that it may be promoted to."""
        return (self.epochs, *self.rungs)

    @classmethod
    def load(cls, source: str | Path) -> Space:
        """The space that a preset or a TOML file describes; its keys are the attributes above.

        Args:
            source: a name in ``search_spaces/``, e.g. ``"cnn"``, or the path of a file.

        Raises:
            SpaceError: there is no such preset or file, or a key is unknown or unfit: on which
                line, and what was expected.
        """
        return cls(**space_schema.read(source))
