"""A task's original, its data and its costs: what its cells share, and how all are scored."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

import hwsearch
from benchmarks.compression.cells import Cell, Outcome, digest, machine
from benchmarks.compression.tasks import Split, Task, original
from hwsearch import distillation
from hwsearch.board import board
from hwsearch.budget import Budget
from hwsearch.compress.projection import Widths
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.compress.sensitivity import sensitivity
from hwsearch.configuration import Configuration
from hwsearch.convert import to_float_tflite
from hwsearch.cost.columns import Ints
from hwsearch.distillation import Distillation
from hwsearch.evaluate import FAST, fast
from hwsearch.graph import WEIGHT_OPS, flatbuffer, keras_channels, tflite
from hwsearch.metric import metric
from hwsearch.pricing import Pricing
from hwsearch.problem import Given, problem
from hwsearch.space import Space
from hwsearch.train import predict

PACKAGES = ("tensorflow", "keras", "litert-quantizer", "ai-edge-litert", "numpy")
"""Whose versions figures depend on."""

BOARD, BACKEND = "nucleo-l4r5zi", "aot"
RATE, BATCH = 2e-3, 128
"""Of every method's training: Adam's first learning rate, a half cosine to 0."""


ROOM = 1.02
"""Of a level's budget over what its widths take: gates aim inside the estimate's error band, and
the narrowest networks of a level leave no other room in RAM."""

DISTILLATION, TEMPERATURE = 0.9, 2.0
"""Of every method's training but those on labels alone: for trainings of this length better than
the defaults of a search, whose trials are short (docs/compression.md)."""

LOW_SHARE = 0.95
"""Of a network's weights at least so many get 4 bits."""


@dataclass(frozen=True)
class Made:
    """What a method gives.

    Attributes:
        content: the artefact to deploy, a quantized ``.tflite``.
        train_s: seconds of compressing and training.
    """

    content: bytes
    train_s: float


class Bench:
    """One task.

    Attributes:
        task, data: it.
        groups: the original's channel groups.
        pricing: what configurations of it cost.
        outputs: what the float original says of the data to report on.
        parameters: of the original that are not 0, and bytes of its int8 image.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.data: Split = task.data()
        self.model = original(task)
        train, search = self.data.train, self.data.search
        given = Given(
            data=(train.inputs[0], train.targets[0]),
            validation_data=(search.inputs[0], search.targets[0]),
            loss=task.loss,
            metric=task.metric,
            mode=task.mode,
            backends=(BACKEND,),
            space=Space(activation_bits=(8,)),
        )
        self.pricing: Pricing = problem(self.model, board(BOARD), given).pricing
        self.groups = keras_channels.groups(self.model)
        self.outputs = predict(self.model, self.data.report.inputs)
        self.parameters = parameters(self.deployed(self.model))

    def fresh(self) -> keras.Model:
        """The original, to be changed."""
        return original(self.task)

    def outcome(self, cell: Cell, made: Made, settings: str) -> Outcome:
        """The artefact scored on the data to report on, its cost, and the settings' digest."""
        found = fast(made.content, self.data.report.inputs)
        measure, targets = metric(self.task.metric, self.task.mode), self.data.report.targets
        score = measure.score(targets, found, FAST)
        paired = measure.difference(targets, found, self.outputs, FAST)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.tflite")
            path.write_bytes(made.content)
            cost = hwsearch.estimate(path, board=BOARD, backend=BACKEND)
        assert cost.flash_bytes and cost.ram_bytes and cost.latency_s and cost.energy_j
        left = parameters(made.content)
        return Outcome(
            cell, score.value, score.low, score.high, paired.value, paired.low, paired.high,
            left, left / self.parameters, cost.flash_bytes, cost.ram_bytes, cost.latency_s,
            cost.energy_j, len(made.content), made.train_s, settings, self.origin, machine(),
        )  # fmt: skip

    @cached_property
    def origin(self) -> str:
        """Digest of the original's weights, and of the versions of what trains and quantizes."""
        state = hashlib.sha256()
        for weights in self.model.get_weights():
            state.update(np.ascontiguousarray(weights).tobytes())
        return digest(state.hexdigest(), [version(name) for name in PACKAGES])

    def deployed(self, model: keras.Model, bits: dict[int, int] | None = None) -> bytes:
        """The model with weights of 8 bits, or of fewer for operators that are named."""
        content = to_float_tflite(model)
        some = self.data.train.take(slice(0, 512)).inputs
        return quantize(calibrate(content, some), 8, bits or {})

    def low(self, model: keras.Model) -> dict[int, int]:
        """4 bits for the operators of a network but those that mind them most for what they save,
        which hold at most what :data:`LOW_SHARE` leaves of its weights."""
        content = to_float_tflite(model)
        graph = tflite.read(content).graph
        ops = [i for i, op in enumerate(graph.ops) if op.kind in ("conv_2d", "fully_connected")]
        sizes = {i: graph.tensors[graph.ops[i].inputs[1]].elements for i in ops}
        some = self.data.train.take(slice(0, 512)).inputs
        errors = dict(zip(ops, sensitivity(calibrate(content, some), some, ops), strict=True))
        left, total = 0, sum(sizes.values())
        found = dict.fromkeys(ops, 4)
        for op in sorted(ops, key=lambda i: errors[i] / sizes[i], reverse=True):
            if left + sizes[op] <= (1 - LOW_SHARE) * total:
                left += sizes[op]
                del found[op]
        return found

    @cached_property
    def taught(self) -> Distillation | None:
        """The original's word on the training data; None where its loss cannot use it."""
        kinds, _ = distillation.kinds(self.model, self.task.loss)
        if not kinds:
            return None
        said = predict(self.model, self.data.train.inputs)
        return Distillation(said, kinds, DISTILLATION, TEMPERATURE)

    def recipe(self, seed: int, labels: bool = False) -> dict[str, Any]:
        """How every method trains, as :func:`hwsearch.train.fine_tune` takes it."""
        return {
            "learning_rate": RATE, "batch_size": BATCH, "samples": 0, "seed": seed,
            "distillation": None if labels else self.taught,
        }  # fmt: skip

    def widths(self, level: float) -> Ints:
        """Every group without that share, rounded up to multiples of four."""
        layout = self.pricing.ranks.layout.groups
        full, least = (np.array([g[i] for g in layout], np.int64) for i in (1, 2))
        allowed = Widths(least, full, 4, lambda w: np.zeros((len(w), 1)))
        return allowed.rounded(np.ceil(full * (1 - level)).astype(np.int64))

    def configuration(self, widths: Ints) -> Configuration:
        """A configuration of these widths, int8."""
        ranks = self.pricing.ranks
        eights = (8,) * len(ranks.layout.ops)
        return Configuration(tuple(map(int, widths)), ranks.space.saliency[0], BACKEND, 8, eights)

    def budget(self, level: float) -> Budget:
        """What the network of :meth:`widths` takes, with :data:`ROOM`: so methods of a level are
        compared at one."""
        cost = self.pricing.cost(self.configuration(self.widths(level)))
        flash, ram = (int(ROOM * used) for used in (cost.flash_bytes, cost.ram_bytes))
        return Budget(flash=flash, ram=ram, latency=ROOM * cost.latency_s)


def parameters(content: bytes) -> int:
    """Weights and biases in a ``.tflite`` that are not 0."""
    graph, stored = tflite.read(content).graph, flatbuffer.unpack(content)
    used = {i for op in graph.ops if op.kind in WEIGHT_OPS for i in op.inputs[1:] if i >= 0}
    kinds = {"int32": np.int32, "int64": np.int64, "float32": np.float32}
    total = 0
    for i in sorted(used):
        tensor = graph.tensors[i]
        if not tensor.is_constant:
            continue
        data = np.asarray(stored.buffers[stored.subgraphs[0].tensors[i].buffer].data, np.uint8)
        if tensor.dtype == "int4":  # two a byte, the low half first
            values = np.stack([data & 15, data >> 4], axis=1).reshape(-1)
            total += int(np.count_nonzero(values[: tensor.elements]))
        else:
            total += int(np.count_nonzero(data.view(kinds.get(tensor.dtype, np.int8))))
    return total
