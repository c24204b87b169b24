"""The chosen model in MLflow's registry: the deployed ``.tflite`` behind ``mlflow.pyfunc``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwsearch.choice import Choice
from hwsearch.explanation import explain
from hwsearch.graph.tflite import read
from hwsearch.report import Report
from hwsearch.runs import STUDY, file_name
from hwsearch.table import title

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "chosen"
"""Alias of the version that the last search chose: ``models:/<study>@chosen``."""

SHA256 = "hwsearch.sha256"
"""Tag with the digest of the artefact's bytes."""


def register(
    client: MlflowClient, experiment_id: str, run_id: str, chosen: Choice, report: Report
) -> None:
    """Logs the chosen model as a pyfunc that runs the deployed ``.tflite``, and registers it.

    A model of the same bytes that is registered under the study's name already stays the only one.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import ModelSignature

    name, tags = file_name(report.study), model_tags(chosen, report)
    with contextlib.suppress(mlflow.exceptions.MlflowException):
        client.create_registered_model(name, {STUDY: report.study}, title(report))
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.tags.get(SHA256) == tags[SHA256]:
            client.set_registered_model_alias(name, ALIAS, known.version)
            return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        mlflow.pyfunc.save_model(
            str(place),
            loader_module="deployed_tflite",
            code_paths=[str(Path(__file__).with_name("deployed_tflite.py"))],
            data_path=str(chosen.tflite),
            signature=ModelSignature.from_dict(signature(chosen.tflite)),
            input_example=example(chosen.tflite),
            pip_requirements=requirements(),
        )
        model = client.create_logged_model(experiment_id, name, run_id, tags)
        client.log_model_artifacts(model.model_id, str(place))
        client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    made = client.create_model_version(
        name,
        model.artifact_location,
        run_id,
        tags=tags,
        description=f"{title(report)}\n\n{explain(report)}\n",
        await_creation_for=0,
        model_id=model.model_id,
    )
    client.set_registered_model_alias(name, ALIAS, made.version)


def model_tags(chosen: Choice, report: Report) -> dict[str, str]:
    """Of the registered model: what it was made for, and the digest of its artefact."""
    board = report.board
    return {
        STUDY: report.study,
        "hwsearch.trial": str(chosen.number),
        "board": board.name,
        "core": board.core,
        **({"mcu": board.mcu} if board.mcu else {}),
        "budget": str(report.budget),
        "backend": chosen.configuration.backend,
        "level": chosen.level,
        SHA256: hashlib.sha256(chosen.tflite.read_bytes()).hexdigest(),
    }


def signature(tflite: Path) -> dict[str, str]:
    """MLflow's signature of a ``.tflite``: any number of samples, real numbers in and out."""
    network = read(tflite).graph

    def schema(indexes: Sequence[int]) -> str:
        tensors = [network.tensors[i] for i in indexes]
        specs: list[dict[str, object]] = [
            {
                "type": "tensor",
                "tensor-spec": {"dtype": "float32", "shape": [-1, *t.shape[1:]]},
                **({"name": t.name} if len(tensors) > 1 else {}),
            }
            for t in tensors
        ]
        return json.dumps(specs)

    return {"inputs": schema(network.inputs), "outputs": schema(network.outputs)}


def example(tflite: Path) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
    """One sample of zeros: what the network's input looks like; by name where it has several."""
    network = read(tflite).graph
    tensors = [network.tensors[i] for i in network.inputs]
    samples = {t.name: np.zeros((1, *t.shape[1:]), np.float32) for t in tensors}
    return samples if len(samples) > 1 else next(iter(samples.values()))


def requirements() -> list[str]:
    """What serving the deployed model needs, pinned to what is installed here."""
    return [f"{p}=={version(p)}" for p in ("mlflow", "ai-edge-litert", "numpy")]
