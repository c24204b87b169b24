"""One training and its leaves: what a child process does for a structure that fits.

The result lies in a folder named by the structure's digest, written whole or not at all; so a
search that is killed finds it again, and another trial of the same structure trains nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hwsearch.candidate import Candidate, Epoch, Score
from hwsearch.compress.elementwise import Elementwise
from hwsearch.compress.goal import Goal
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Cost
from hwsearch.data import Samples
from hwsearch.errors import HwsearchError
from hwsearch.metric import Metric
from hwsearch.record import from_json, to_json
from hwsearch.search import carried
from hwsearch.search.cache import Cache
from hwsearch.space import Space

TRAINED = "trained"
"""Folder of a study that holds a folder a structure."""

RESULT = "result.json"
FLOAT = "float.tflite"
NETWORK = "network.keras"
"""The fine-tuned Keras model: what a promotion goes on from."""

CHOICES = (
    "pruning_ratio", "multiple_of", "saliency", "weight_bits", "activation_bits", "rungs",
    "schedule", "sparsity", "pattern", "clusters", "qat", "trainer", "method", "ratios",
    "drop_blocks", "distillation",
)  # fmt: skip
"""Of a space what a structure says, or what no training depends on."""

DISK_FULL = "disk full: "
"""How the reason of a training begins that failed for want of disk: it ends the search."""


@dataclass(frozen=True)
class Precision:
    """Bit widths of one artefact, without the backend: runtimes share it.

    Attributes:
        activation_bits: 8 or 16.
        weight_bits: by index of the float network's operator, where it is not 8.
    """

    activation_bits: int
    weight_bits: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """File name of the artefact."""
        low = "".join(f"_{i}w{b}" for i, b in self.weight_bits)
        return f"a{self.activation_bits}w8{low}.tflite"


@dataclass(frozen=True)
class Job:
    """What to train and which artefacts to make of it.

    Attributes:
        directory: of the study; holds ``model.keras`` and ``data/``.
        structure: names the training, see :attr:`Configuration.training`.
        widths: channels to keep of each group that is cut.
        saliency: by which they are chosen.
        schedule: when the others are cut.
        precisions: the artefacts to make.
        space: how to train; its epochs are those from the first one on.
        loss, metric: carried, as users bring functions of their own.
        custom_objects: carried, the model's classes that are not Keras' own, by name.
        seed: of the training.
        threads: that TensorFlow may use.
        memory_bytes: that its process may hold; 0 is any.
        cache: of trainings, shared with other studies; None is none.
        lineage: digest of model, data and loss.
        before: the shorter training that it goes on from; None starts from the original.
        elementwise: what is done to single weights. With QAT for the first precision, the only
            one.
        plain: with QAT the same training without; None without QAT.
        goal: of a differentiable training: what it is to fit; None cuts to the widths given.
        dropped: names of residual blocks to drop; the widths are of what is left.
        distillation: weight of the original's outputs in the loss.
    """

    directory: Path
    structure: str
    widths: Mapping[str, int]
    saliency: str
    schedule: str
    precisions: tuple[Precision, ...]
    space: Space
    loss: bytes
    metric: bytes
    custom_objects: bytes
    seed: int
    threads: int
    memory_bytes: int = 0
    cache: Cache | None = None
    lineage: str = ""
    before: Job | None = None
    elementwise: Elementwise = field(default_factory=Elementwise)
    plain: Job | None = None
    goal: Goal | None = None
    dropped: tuple[str, ...] = ()
    distillation: float = 0.0

    @property
    def folder(self) -> Path:
        """Where the result lies."""
        return self.directory / TRAINED / self.structure

    @property
    def key(self) -> str:
        """Of the training in the cache: of all that its outcome depends on."""
        space = {k: v for k, v in asdict(self.space).items() if k not in CHOICES}
        space["stops"] = True not in self.space.qat
        before = "" if self.before is None else self.before.key
        goal = None if self.goal is None else self.goal.key
        parts = [
            self.lineage, self.structure, space, goal, self.seed, version("hwsearch"), before,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Artefact:
    """One quantized model of a training and its score on the search half.

    Attributes:
        plain: with QAT the score of the same without, trained for as long.
    """

    precision: Precision
    tflite: Path
    score: Score
    plain: Score | None = None


@dataclass(frozen=True)
class Result:
    """What came of a job.

    Attributes:
        curve: the fine-tune's epochs.
        train_s: its seconds; of a promotion without those before.
        artefacts: those made so far of this structure.
        notes: what the trial should say: a method that fell back, a loss that diverged.
        widths: of each group, those that a differentiable training found; None: those given.
        diverged: whether the loss became NaN or infinite: it ended there, with the last finite
            weights.
    """

    curve: tuple[Epoch, ...]
    train_s: float
    artefacts: tuple[Artefact, ...]
    notes: tuple[str, ...] = ()
    widths: tuple[int, ...] | None = None
    diverged: bool = False

    def candidate(self, wanted: Candidate, cost: Callable[[Configuration], Cost]) -> Candidate:
        """A leaf that was asked for, as it came out; costed again where its widths were found."""
        if self.widths is None:
            return wanted
        found = wanted.configuration.found(self.widths)
        return replace(wanted, configuration=found, cost=cost(found))

    def of(self, precision: Precision) -> Artefact | None:
        """The artefact of this precision, if it was made."""
        return next((a for a in self.artefacts if a.precision == precision), None)


def load(folder: Path) -> Result | None:
    """The result in a folder, None where there is none."""
    if not (folder / NETWORK).is_file():
        return None
    try:
        found = json.loads((folder / RESULT).read_text())
    except (OSError, ValueError):
        return None
    result: Result = from_json(Result, found, folder)
    return result


def run(job: Job) -> Result:
    """Trains the structure unless that was done, then makes and scores what artefacts are missing.

    Raises:
        ConversionError: the converter or the quantizer failed.
    """
    from hwsearch.compress.quantize import calibrate, quantize
    from hwsearch.evaluate import FAST, fast

    known = _trained(job)
    missing = [p for p in job.precisions if known.of(p) is None]
    if missing:
        metric: Metric = carried.loads(job.metric)
        train = Samples.load(job.directory / "data" / "train")
        search = Samples.load(job.directory / "data" / "search")
        calibration = calibrate((job.folder / FLOAT).read_bytes(), train.inputs)
        plain = _plain(job)
        for precision in missing:
            try:
                content = quantize(
                    calibration, precision.activation_bits, dict(precision.weight_bits)
                )
                score = metric.score(search.targets, fast(content, search.inputs), FAST)
            except HwsearchError:
                if precision == job.precisions[0]:  # the one asked for; others are a bonus
                    raise
                continue
            path = job.folder / precision.name
            _replace(path, content)
            made = (*known.artefacts, Artefact(precision, path, score, plain))
            known = replace(known, artefacts=made)
            _write(job.folder, known)
    return known


def _trained(job: Job) -> Result:
    """What training the structure gives: at hand, or of the cache, or made now."""
    known = load(job.folder)
    if known is None and job.cache is not None and job.cache.take(job.key, job.folder):
        known = load(job.folder)
    if known is None:
        known = _train(job)
        if job.cache is not None:
            job.cache.put(job.key, [job.folder / name for name in (FLOAT, NETWORK, RESULT)])
    return known


def _plain(job: Job) -> Score | None:
    """With QAT the score of the same training without, which is kept for whoever asks for it."""
    if job.plain is None:
        return None
    artefact = run(job.plain).of(job.precisions[0])
    return None if artefact is None else artefact.score


def _train(job: Job) -> Result:
    from hwsearch.compress import schedule, tuning
    from hwsearch.compress.depth import blocks, without
    from hwsearch.compress.elementwise import spread
    from hwsearch.compress.saliency import Evidence, Saliency, saliency
    from hwsearch.convert import load_model, save_model, to_float_tflite
    from hwsearch.graph import keras_channels
    from hwsearch.search import original as shared

    before = None if job.before is None else _trained(job.before)
    started = time.monotonic()
    # The search wrote this file, from a model that ran in its own process already.
    original, space = load_model(job.directory / "model.keras", trusted=True), job.space
    data, loss = Samples.load(job.directory / "data" / "train"), carried.loads(job.loss)
    evidence = Evidence(data, loss, job.seed)
    teacher, notes = shared.taught(
        job.directory, original, data, loss, job.distillation, space.temperature
    )

    done = 0 if job.before is None else job.before.space.epochs

    def rank(model: Any, groups: Any) -> Saliency:
        if model is original:  # whole: what other trainings need too
            return shared.ranked(job.directory, model, groups, job.saliency, evidence)
        return saliency(model, groups, job.saliency, evidence)

    epochs, widths = space.epochs if data.targets else 0, None
    settings: dict[str, Any] = {
        "learning_rate": space.learning_rate,
        "batch_size": space.batch_size,
        "samples": space.samples,
        "seed": job.seed + done,  # a promotion draws other samples than the epochs before
        "distillation": teacher,
    }
    low = dict(job.precisions[0].weight_bits)
    rise = job.schedule if before is None else "one-shot"  # a promotion has its zeros
    wanted = spread(original, job.elementwise)
    stops = True not in space.qat  # a search that compares with QAT trains all as long
    tune = tuning.Tuning(data, loss, settings, wanted, rise, epochs, low, done, stops)
    if job.before is not None and before is not None:
        model, widths = load_model(job.before.folder / NETWORK, trusted=True), before.widths
        curve, said, tune.diverged = before.curve, [before.notes], before.diverged
        tuned = [tune(model, epochs - done)] if epochs else []
    elif job.goal is not None:
        from hwsearch.compress.differentiable import shrink

        groups = keras_channels.groups(original)
        shrunk = shrink(original, groups, data, loss, job.goal, epochs=epochs, **settings)
        model, widths, curve, tuned = shrunk.model, shrunk.widths, shrunk.curve, []
        said, tune.diverged = [notes, shrunk.notes], shrunk.diverged
    else:
        network = original
        if job.dropped:
            network = without(network, [b for b in blocks(network) if b.name in job.dropped])
        model, ranked, tuned = schedule.cut(network, job.widths, rank, job.schedule, epochs, tune)
        curve, said = (), [notes, *(each.notes for each in ranked)]
    content = to_float_tflite(model)
    job.folder.mkdir(parents=True, exist_ok=True)
    _replace(job.folder / FLOAT, content)
    part = job.folder / f"part{os.getpid()}-{NETWORK}"
    save_model(model, part)
    part.replace(job.folder / NETWORK)
    said += [each.notes for each in tuned]
    curve += tuple(epoch for each in tuned for epoch in each.curve)
    seconds = time.monotonic() - started
    told = tuple(dict.fromkeys(note for notes in said for note in notes))
    result = Result(curve, seconds, (), told, widths, tune.diverged)
    _write(job.folder, result)
    return result


def _write(folder: Path, result: Result) -> None:
    _replace(folder / RESULT, json.dumps(to_json(result, folder)).encode())


def _replace(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    part = path.with_suffix(f".part{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


def child(job: Job, connection: Any) -> None:
    """Runs a job in this process and sends (Result, None) or (None, reason)."""
    try:
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(job.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        with keras.saving.custom_object_scope(carried.loads(job.custom_objects)):
            result = run(job)
    except HwsearchError as error:
        connection.send((None, str(error)))
    except OSError as error:
        full = DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        connection.send((None, f"{full}{error.strerror or error}: {error.filename or ''}"))
    except Exception as error:
        connection.send((None, f"{type(error).__name__}: {error}"))
    else:
        connection.send((result, None))
    finally:
        connection.close()
