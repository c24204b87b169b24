"""What is foretold of flash from shapes alone is what the generated folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite_writer import random_network

from hwsearch import codegen as compiler
from hwsearch.codegen.footprint import constant_bytes, kernel_files
from hwsearch.graph import tflite


@pytest.mark.parametrize(("dtype", "bits"), [("int8", 8), ("int16", 8), ("int8", 4)])
def test_constants_and_kernels_are_foretold(dtype: str, bits: int, tmp_path: Path) -> None:
    for seed in range(2000, 2025):
        content = random_network(np.random.default_rng(seed), dtype, bits)
        graph = tflite.read(content).graph
        made = compiler.generate(content, tmp_path / str(seed), formats={})
        named = {p.stem for p in made.files if p.stem.startswith("nn_")}
        assert named == kernel_files(graph), seed
        exponentials = sum(op.kind == "softmax" for op in graph.ops) if dtype == "int8" else 0
        spare = sum(constant_bytes(graph)) - sum(made.flash_bytes.values())
        assert 0 <= spare <= 1020 * exponentials, seed
