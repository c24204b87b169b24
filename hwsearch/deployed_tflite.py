"""The deployed ``.tflite`` behind ``mlflow.pyfunc``; MLflow copies this file beside the model.

So it imports nothing of hwsearch or MLflow: ``ai-edge-litert`` and NumPy are enough to serve it.
Kernels are LiteRT's reference ones (no XNNPACK), whose outputs are nearest to a microcontroller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert


class DeployedTflite:
    """Predicts with a ``.tflite`` of batch 1, real numbers in and out.

    Args:
        path: the file, or a folder with ``model.tflite``.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self._interpreter = litert.Interpreter(
            model_path=str(path / "model.tflite" if path.is_dir() else path),
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Outputs for n samples.

        Args:
            model_input: array [n, …], or by input name a mapping of them; real numbers.
            params: unused; MLflow passes it.

        Returns:
            float32 [n, …], or by output name a dict of them where there are several.
        """
        if isinstance(model_input, Mapping):
            arrays = [np.asarray(model_input[d["name"]]) for d in self._inputs]
        else:
            arrays = [np.asarray(model_input)]
        made: list[list[Any]] = [[] for _ in self._outputs]
        for sample in range(len(arrays[0])):
            for details, array in zip(self._inputs, arrays, strict=True):
                quantized = _quantize(array[sample], details).reshape(details["shape"])
                self._interpreter.set_tensor(details["index"], quantized)
            self._interpreter.invoke()
            for rows, details in zip(made, self._outputs, strict=True):
                rows.append(_real(self._interpreter.get_tensor(details["index"])[0], details))
        outputs = {
            d["name"]: np.stack(rows) if rows else np.zeros((0, *d["shape"][1:]), np.float32)
            for d, rows in zip(self._outputs, made, strict=True)
        }
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _quantize(array: Any, details: Mapping[str, Any]) -> Any:
    scale, zero_point = details["quantization"]
    if not scale:
        return array.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    rounded = np.rint(np.asarray(array, np.float64) / scale) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(details["dtype"])


def _real(array: Any, details: Mapping[str, Any]) -> Any:
    scale, zero_point = details["quantization"]
    if not scale:
        return array.astype(np.float32)
    return ((array.astype(np.float64) - zero_point) * scale).astype(np.float32)


def _load_pyfunc(path: str) -> DeployedTflite:
    """MLflow's way in."""
    return DeployedTflite(path)
