"""tfmot's worker: ``python -m hwsearch.compress.tfmot_worker FOLDER``; see ``tfmot.py``."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch.compress import tfmot as owner
from hwsearch.errors import RefusedError
from hwsearch.train import BATCH_NORM_MOMENTUM

COMPARED = 64
"""Samples on which the model built again is compared with the original."""


def follow() -> None:
    """Ends this process with the one that holds the other end of its standard input."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(folder: Path) -> None:
    """Does the job in a folder, and writes what came of it there."""
    import tensorflow as tf

    job = json.loads((folder / owner.JOB).read_text())
    tf.config.threading.set_intra_op_parallelism_threads(job["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        found = _trained(folder, job)
    except RefusedError as error:
        found = {"refused": str(error)}
    except Exception as error:  # whatever tfmot has against a layer
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        found = {"refused": f"{type(error).__name__}: {lines[0][:300]}"}
    part = folder / f"{owner.RESULT}.part"
    part.write_text(json.dumps(found))
    part.replace(folder / owner.RESULT)


def _trained(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    import keras
    import tf_keras

    from hwsearch.compress.legacy_model import Twin

    tf_keras.utils.set_random_seed(job["seed"])
    original = keras.models.load_model(folder / owner.MODEL, compile=False)
    inputs, targets = (_arrays(job[key]) for key in ("inputs", "targets"))
    twin = Twin(original)
    twin.check(original, [x[:COMPARED] for x in inputs])
    for _, layer in twin.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    training = Training(job, inputs, targets)
    stages = _stages(job)
    model, curve = twin.model, []
    names = {layer.name: [_short(w) for w in layer.weights] for _, layer in twin.layers}
    for number, (wrap, strip, callbacks) in enumerate(stages):
        epochs = job["epochs"] * (number + 1) // len(stages) - job["epochs"] * number // len(
            stages
        )
        if epochs == 0:
            raise RefusedError(f"{len(stages)} stages need as many epochs, not {job['epochs']}")
        wrapped = wrap(model, training.steps * epochs)
        curve += training.fit(wrapped, epochs, callbacks)
        model = strip(wrapped)
    trained = {getattr(layer, "layer", layer).name: layer for layer in model.layers}
    value: dict[int, Any] = {}
    for layer, its in twin.layers:
        if its.name not in trained:
            raise RefusedError(f"tfmot replaces layer {layer.name} ({type(layer).__name__})")
        values = _weights(trained[its.name], names[its.name])
        value.update((id(w), v) for w, v in zip(layer.weights, values, strict=True))
    np.savez(folder / owner.WEIGHTS, *(value[id(w)] for w in original.weights))
    return {"curve": curve, "notes": training.notes}


def _arrays(paths: list[str]) -> list[Any]:
    return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]


class Training:
    """The fine-tune of ``hwsearch.train``, on a model of Keras 2."""

    def __init__(self, job: dict[str, Any], inputs: list[Any], targets: list[Any]) -> None:
        import keras

        self.job, self.inputs, self.targets = job, inputs, targets
        self.rng = np.random.default_rng(job["seed"])
        self.count = min(job["samples"] or len(inputs[0]), len(inputs[0]))
        self.steps = max(1, math.ceil(self.count / job["batch_size"]))
        self.notes: list[str] = []
        losses = [keras.saving.deserialize_keras_object(one) for one in job["losses"]]
        self.losses = [_plain(loss) for loss in losses]
        teacher = job.get("teacher")
        outputs = [] if teacher is None else _arrays(teacher["outputs"])
        if teacher is not None and all(a.ndim <= 2 for a in (*targets, *outputs)):
            widths = [1 if y.ndim == 1 else y.shape[1] for y in targets]
            self.targets = [_Beside(y, o) for y, o in zip(targets, outputs, strict=True)]
            self.losses = [
                _distilled(loss, width, kind, teacher["weight"], teacher["temperature"])
                for loss, width, kind in zip(self.losses, widths, teacher["kinds"], strict=True)
            ]
        elif teacher is not None:
            self.notes.append(
                "no distillation in tfmot's process: targets or outputs have more than one axis"
            )

    def fit(self, model: Any, epochs: int, callbacks: list[Any]) -> list[float]:
        """Trains a model; the loss of each epoch."""
        import tf_keras

        rate = tf_keras.optimizers.schedules.CosineDecay(
            self.job["learning_rate"], self.steps * epochs
        )
        model.compile(optimizer=tf_keras.optimizers.Adam(rate), loss=self.losses)
        curve = []
        for _ in range(epochs):
            rows = np.sort(self.rng.permutation(len(self.inputs[0]))[: self.count])
            x, y = [a[rows] for a in self.inputs], [a[rows] for a in self.targets]
            size = min(self.job["batch_size"], self.count)
            history = model.fit(x, y, batch_size=size, verbose=0, callbacks=callbacks)
            curve.append(float(history.history["loss"][-1]))
            if not math.isfinite(curve[-1]):
                raise RefusedError("the loss diverged in tfmot's training")
        return curve


class _Beside:
    """Labels, and beside them what the original says: one array a batch."""

    def __init__(self, labels: Any, outputs: Any) -> None:
        self.labels, self.outputs = labels, outputs

    def __getitem__(self, rows: Any) -> Any:
        labels = np.asarray(self.labels[rows], np.float32).reshape(len(rows), -1)
        return np.concatenate([labels, self.outputs[rows]], axis=1)


def _plain(loss: Any) -> Callable[[Any, Any], Any]:
    """A loss as a function: tf_keras knows no losses of Keras 3."""
    return lambda target, made: loss(target, made)


def _distilled(
    loss: Any, width: int, kind: Any, weight: float, temperature: float
) -> Callable[[Any, Any], Any]:
    from hwsearch.distillation import softened_loss

    softened = softened_loss(kind, temperature)

    def both(target: Any, made: Any) -> Any:
        labels, said = target[:, :width], target[:, width:]
        return (1 - weight) * loss(labels, made) + weight * softened(said, made)

    return both


Stage = tuple[Callable[[Any, int], Any], Callable[[Any], Any], list[Any]]
"""(wraps a model for so many steps, unwraps it, callbacks)."""


def _stages(job: dict[str, Any]) -> list[Stage]:
    """What tfmot does, one after the other: its collaborative optimization."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    def treated(layer: Any) -> bool:
        kinds = ("Dense", "Conv1D", "Conv2D", "SeparableConv1D", "SeparableConv2D")
        return type(layer).__name__ in kinds and layer.trainable

    def each(model: Any, change: Callable[[Any], Any]) -> Any:
        return tf_keras.models.clone_model(
            model, clone_function=lambda layer: change(layer) if treated(layer) else layer
        )

    def prune(model: Any, steps: int) -> Any:
        often, end = max(1, steps // 20), max(1, steps // 2)
        schedules = tfmot.sparsity.keras
        pattern = (2, 4) if job["pattern"] == "2:4" else None
        power = 1 if job["schedule"] == "iterative" else 3

        def pruned(layer: Any) -> Any:
            share = job["zeros"].get(layer.name, job["sparsity"])
            if job["schedule"] == "one-shot" or pattern:
                rise = schedules.ConstantSparsity(share, 0, frequency=often)
            else:
                rise = schedules.PolynomialDecay(0.0, share, 0, end, power, frequency=often)
            return schedules.prune_low_magnitude(
                layer, pruning_schedule=rise, sparsity_m_by_n=pattern
            )

        return each(model, pruned)

    def share(model: Any, steps: int) -> Any:
        from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

        start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
        return each(
            model,
            lambda layer: cluster.cluster_weights(
                layer, number_of_clusters=job["clusters"], cluster_centroids_init=start,
                preserve_sparsity=job["sparsity"] > 0,
            ),
        )  # fmt: skip

    def quantize(model: Any, steps: int) -> Any:
        combine = tfmot.experimental.combine
        n_bit = tfmot.quantization.keras.experimental.default_n_bit
        if job["clusters"]:
            scheme = combine.Default8BitClusterPreserveQuantizeScheme(job["sparsity"] > 0)
        elif job["sparsity"]:
            scheme = combine.Default8BitPrunePreserveQuantizeScheme()
        else:
            scheme = n_bit.DefaultNBitQuantizeScheme(
                num_bits_weight=job["bits"], num_bits_activation=8
            )
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        return tfmot.quantization.keras.quantize_apply(annotated, scheme)

    stages: list[Stage] = []
    if job["sparsity"]:
        step = tfmot.sparsity.keras.UpdatePruningStep()
        stages.append((prune, tfmot.sparsity.keras.strip_pruning, [step]))
    if job["clusters"]:
        stages.append((share, tfmot.clustering.keras.strip_clustering, []))
    if job["qat"]:
        stages.append((quantize, lambda model: model, []))
    return stages


def _short(weight: Any) -> str:
    return str(weight.name).split(":")[0].split("/")[-1]


def _weights(layer: Any, names: list[str]) -> list[Any]:
    """The weights of a layer, or of the one that it wraps, in the order of these names."""
    inner = getattr(layer, "layer", layer)
    # A quantizing wrapper takes its layer's kernels away, and trains them itself.
    taken = {_short(w): w.numpy() for w, *_ in getattr(layer, "_weight_vars", ())}
    if not taken:
        return [w.numpy() for w in inner.weights]
    found = {_short(w): w.numpy() for w in inner.weights} | taken
    return [found[name] for name in names]


if __name__ == "__main__":
    follow()
    main(Path(sys.argv[1]))
