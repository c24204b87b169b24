"""What the trainings of a study share of the original model: its outputs and its saliencies.

Computed by the first training that needs them, written whole or not at all; two at once write
the same.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch import distillation, train
from hwsearch.compress.saliency import Evidence, Saliency, saliency
from hwsearch.data import Array, Samples
from hwsearch.distillation import Distillation
from hwsearch.graph.groups import ChannelGroups


def taught(
    directory: Path, model: Any, data: Samples, loss: Any, weight: float, temperature: float
) -> tuple[Distillation | None, tuple[str, ...]]:
    """The distillation of a weight and a temperature, and a note where it cannot be.

    Args:
        directory: of the study; keeps the original's outputs in ``data/original``.
        model: the original.
        data: what it is asked about.
        loss: as ``model.compile`` takes it.
        weight, temperature: see :class:`Distillation`; at weight 0 there is none.
    """
    if not data.targets:
        return None, ()

    def outputs() -> tuple[Array, ...]:
        folder = directory / "data" / "original"
        if not folder.is_dir():
            part = folder.with_name(f"original.part{os.getpid()}")
            Samples(train.predict(model, data.inputs)).save(part)
            try:
                part.rename(folder)
            except OSError:  # another training was first
                shutil.rmtree(part)
        return Samples.load(folder).inputs

    return distillation.taught(model, loss, outputs, weight, temperature)


def ranked(
    directory: Path, model: Any, groups: ChannelGroups, kind: str, evidence: Evidence
) -> Saliency:
    """The original's saliency of a kind, kept in ``saliency/`` of the study's directory."""
    path = directory / "saliency" / f"{kind}.json"
    if path.is_file():
        found = json.loads(path.read_text())
        values = {name: np.array(each, np.float64) for name, each in found["values"].items()}
        return Saliency(values, tuple(found["notes"]))
    made = saliency(model, groups, kind, evidence)
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(f".part{os.getpid()}")
    values_ = {name: each.tolist() for name, each in made.values.items()}
    part.write_text(json.dumps({"values": values_, "notes": made.notes}))
    part.replace(path)
    return made
