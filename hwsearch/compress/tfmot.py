"""tensorflow-model-optimization, in a process of its own: what this process knows of it.

tfmot works on models of Keras 2 alone, and importing it turns its whole process to Keras 2. So a
worker (``tfmot_worker.py``) reads the Keras 3 model from a file, builds it again layer by layer,
trains it there, and writes weights. Arrays pass as ``.npy`` and ``.npz`` files, all else as JSON;
nothing is pickled. The worker ends with its owner: it reads a pipe that the owner holds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hwsearch import distillation
from hwsearch.candidate import Epoch
from hwsearch.compress.elementwise import Elementwise, kernels
from hwsearch.compress.rounding import rounded
from hwsearch.data import Array, Samples
from hwsearch.errors import RefusedError
from hwsearch.graph import keras_channels
from hwsearch.train import FineTuned, estimate_statistics

MODEL, JOB, RESULT, WEIGHTS = "model.keras", "job.json", "result.json", "weights.npz"
"""What owner and worker write into their folder."""


def train(
    model: Any,
    data: Samples,
    loss: Any,
    wanted: Elementwise,
    *,
    schedule: str,
    bits: Mapping[int, int],
    epochs: int,
    learning_rate: float,
    batch_size: int,
    samples: int,
    seed: int,
    distillation: distillation.Distillation | None = None,
) -> FineTuned:
    """Trains a Keras 3 model in place by tfmot: sparsity, then clusters, then QAT.

    Epochs are shared evenly by the stages that are wanted. Zeros come at once, or by a
    polynomial, as the schedule says; QAT is the N-bit scheme, or the one that preserves zeros and
    clusters where there are some.

    Args:
        model: a functional or Sequential model.
        data, loss, epochs, learning_rate, batch_size, samples, seed, distillation: as
            :func:`hwsearch.train.fine_tune`.
        wanted: what is done to single weights.
        schedule: a key of :data:`hwsearch.compress.schedule.SCHEDULES`.
        bits: by ``id`` of a kernel the bits of its weights; those that are not there have 8.

    Raises:
        RefusedError: tfmot cannot do this with this model: which layer, and why. The model is as
            it was.
    """
    _check(model, wanted, bits)
    if epochs == 0 or len(data) == 0:
        raise RefusedError("tfmot works by training, and there are no epochs")
    job = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "samples": samples,
        "seed": seed,
        "schedule": schedule,
        "sparsity": wanted.sparsity,
        "zeros": {twin_name(path): wanted.of(path).sparsity for path, _ in kernels(model)},
        "pattern": wanted.pattern,
        "clusters": wanted.clusters,
        "qat": wanted.qat,
        "bits": 4 if bits else 8,
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "losses": _serialized(model, loss),
    }
    with tempfile.TemporaryDirectory(prefix="hwsearch-tfmot-") as name:
        folder = Path(name)
        model.save(folder / MODEL)
        job["inputs"] = _files(folder, "input", data.inputs)
        job["targets"] = _files(folder, "target", data.targets)
        if distillation is not None:
            job["teacher"] = {
                "outputs": _files(folder, "teacher", distillation.outputs),
                "kinds": list(distillation.kinds),
                "weight": distillation.weight,
                "temperature": distillation.temperature,
            }
        (folder / JOB).write_text(json.dumps(job))
        found = _run(folder)
        with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
            weights = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
    if not all(np.isfinite(w).all() for w in weights):
        raise RefusedError("the loss diverged in tfmot's training")
    model.set_weights(weights)
    estimate_statistics(model, data, seed)
    return FineTuned(tuple(Epoch(value) for value in found["curve"]), tuple(found["notes"]))


def twin_name(path: str) -> str:
    """Of the Keras 2 layer that stands for the one at a path."""
    return path.replace("/", "__")


def _check(model: Any, wanted: Elementwise, bits: Mapping[int, int]) -> None:
    own = {type(layer) for _, layer in keras_channels.layers(model)}
    foreign = sorted(c.__name__ for c in own if not c.__module__.startswith("keras.src."))
    if foreign:
        raise RefusedError(f"{', '.join(foreign)} is no layer of Keras: Keras 2 has no twin of it")
    if wanted.qat and bits:
        if len(bits) < len(rounded(model)):
            raise RefusedError("its N-bit scheme has one width for all layers, not one for each")
        if wanted.sparsity or wanted.clusters:
            raise RefusedError("it preserves zeros and clusters with 8-bit weights alone")


def _serialized(model: Any, loss: Any) -> list[Any]:
    """The loss of each output as JSON."""
    found = []
    for one in distillation.losses(model, loss):
        home = getattr(one, "__module__", type(one).__module__)
        if not (home.startswith("keras.") or type(one).__module__.startswith("keras.")):
            name = getattr(one, "__name__", type(one).__name__)
            raise RefusedError(f"the loss {name} is not one of Keras: it cannot pass as a file")
        found.append(keras.saving.serialize_keras_object(one))
    return found


def _files(folder: Path, kind: str, arrays: Sequence[Array]) -> list[str]:
    """Paths of ``.npy`` files of arrays: their own if they are mapped from one."""
    paths = []
    for i, array in enumerate(arrays):
        own = getattr(array, "filename", None) if isinstance(array, np.memmap) else None
        if own is None or (array.base is not None and isinstance(array.base, np.memmap)):
            own = folder / f"{kind}_{i}.npy"
            np.save(own, array, allow_pickle=False)
        paths.append(str(Path(own).absolute()))
    return paths


def _run(folder: Path) -> dict[str, Any]:
    """What a worker says of the job in a folder.

    Raises:
        RefusedError: it refused, or ended without a word.
    """
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_USE_LEGACY_KERAS": "1",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "hwsearch.compress.tfmot_worker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        assert process.stderr is not None
        words = process.stderr.read().decode(errors="replace")  # until it ends
        process.wait()
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stderr):
            if stream is not None:
                stream.close()
    try:
        found: dict[str, Any] = json.loads((folder / RESULT).read_text())
    except (OSError, ValueError):
        said = " | ".join(words.strip().splitlines()[-2:])
        raise RefusedError(f"its process ended with {process.returncode}: {said}") from None
    if found.get("refused"):
        raise RefusedError(found["refused"])
    return found
