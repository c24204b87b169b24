"""Tuning: a trial's fine-tune, with what is done to single weights and what falls back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hwsearch import train
from hwsearch.compress import straight_through, tfmot
from hwsearch.compress.elementwise import Elementwise, project, untreated
from hwsearch.compress.operators import kernels_of
from hwsearch.compress.rounding import left_float, rounded
from hwsearch.convert import to_float_tflite
from hwsearch.data import Samples
from hwsearch.errors import RefusedError
from hwsearch.graph import tflite
from hwsearch.train import FineTuned


@dataclass
class Tuning:
    """Trains networks one after the other, the last of which is deployed.

    Attributes:
        data: with targets, unless nothing is trained.
        loss: as ``model.compile`` takes it.
        settings: what :func:`hwsearch.train.fine_tune` takes beside the epochs.
        wanted: what is done to single weights.
        schedule: how zeros come.
        epochs: of all calls together.
        low: by index of the float network's operator its weights' bits, where they are not 8.
        done: epochs of the calls so far.
        stops: whether plain training ends early. QAT never does, as the network of an early epoch
            is not yet the one asked for; what is compared with it trains as long.
        diverged: whether a loss did: no later call trains.
    """

    data: Samples
    loss: Any
    settings: Mapping[str, Any]
    wanted: Elementwise
    schedule: str
    epochs: int
    low: Mapping[int, int]
    done: int = 0
    stops: bool = True
    diverged: bool = False

    def __call__(self, model: Any, epochs: int) -> FineTuned:
        """Trains a network in place for some of the epochs.

        Once the loss diverged it gets the zeros and values asked for alone: it has its price.
        """
        begin, self.done = self.done, self.done + epochs
        tuned = self._tuned(model, 0 if self.diverged else epochs, begin)
        self.diverged |= tuned.diverged
        return tuned

    def _tuned(self, model: Any, epochs: int, begin: int) -> FineTuned:
        """The same for epochs that begin after so many."""
        if not self.wanted:
            return train.fine_tune(
                model, self.data, self.loss, epochs=epochs,
                patience=train.patience(epochs) if self.stops else 0, drawn=begin,
                **self.settings,
            )  # fmt: skip
        total = max(1, self.epochs)
        bits, notes = self._bits(model)
        end = self.done / total if self.epochs else 1.0
        notes += self._left_out(model)
        if self.wanted.trainer == "tfmot" and self.done < self.epochs:
            notes.append(
                "channels are cut in steps: tfmot trains the last one alone, Keras 3 the others"
            )
        if self.wanted.trainer == "tfmot" and self.done == self.epochs and not self.diverged:
            try:
                tuned = self._by_tfmot(model, epochs, bits)
            except RefusedError as error:
                notes.append(f"tfmot refused: {error}. Trained with Keras 3 instead")
            else:
                return replace(tuned, notes=(*notes, *tuned.notes))
        if self.wanted.qat and (left := _named(left_float(model))):
            notes.append(f"QAT does not round the weights of {left}: quantized after training")
        plan = straight_through.Plan(self.wanted, self.schedule, begin / total, end, bits)
        tuned = straight_through.train(
            model, self.data, self.loss, plan, epochs=epochs, drawn=begin, **self.settings
        )
        return replace(tuned, notes=(*notes, *tuned.notes))

    def _by_tfmot(self, model: Any, epochs: int, bits: Mapping[int, int]) -> FineTuned:
        """The same by tfmot, whose zeros and values are then those of the artefact's grid."""
        tuned = tfmot.train(
            model, self.data, self.loss, self.wanted, schedule=self.schedule, bits=bits,
            epochs=epochs, **self.settings,
        )  # fmt: skip
        if project(model, self.wanted):
            train.estimate_statistics(model, self.data, self.settings["seed"])
        return tuned

    def _bits(self, model: Any) -> tuple[dict[int, int], list[str]]:
        """By ``id`` of a kernel its bits, where QAT needs them and they are not 8; notes."""
        if not (self.wanted.qat and self.low):
            return {}, []
        content = tflite.read(to_float_tflite(model))
        found = kernels_of((r.variable for r in rounded(model)), content, self.low)
        missing = [op for op in self.low if op not in found]
        notes = [
            f"no QAT at 4 bits for operator {op} ({content.graph.ops[op].kind}): none of the "
            "model's kernels is its; quantized after training"
            for op in missing
        ]
        return {id(variable): self.low[op] for op, variable in found.items()}, notes

    def _left_out(self, model: Any) -> list[str]:
        """What of a network stays as it is."""
        layers = _named(untreated(model))
        if not layers or not (self.wanted.sparsity or self.wanted.clusters):
            return []
        return [
            f"no zeros or shared values in {layers}: only Keras' Conv, SeparableConv and Dense "
            "layers that train get them"
        ]


def _named(layers: list[tuple[str, str]]) -> str:
    return ", ".join(f"{path} ({kind})" for path, kind in layers)
