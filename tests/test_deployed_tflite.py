"""What a deployed file predicts through its model in MLflow's registry."""

from __future__ import annotations

from pathlib import Path

import factories
import numpy as np

from hwsearch.deployed_tflite import DeployedTflite


def test_deployed_predictions_are_the_dequantized_bytes_of_the_interpreter(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = factories.artefact(tmp_path, 0)
    interpreter = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (i,), (o,) = interpreter.get_input_details(), interpreter.get_output_details()
    q = np.random.default_rng(1).integers(-128, 128, i["shape"], np.int8)
    interpreter.set_tensor(i["index"], q)
    interpreter.invoke()
    scale, zero = o["quantization"]
    expected = (interpreter.get_tensor(o["index"]).astype(np.float64) - zero) * scale
    real = (q.astype(np.float64) - i["quantization"][1]) * i["quantization"][0]
    assert np.array_equal(DeployedTflite(path).predict(real), expected.astype(np.float32))
