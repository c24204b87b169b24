"""The ahead-of-time compiler: a ``.tflite`` becomes C sources with everything planned."""

from hwsearch.codegen.footprint import constant_bytes, kernel_files
from hwsearch.codegen.generate import Generated, LayerPlan, generate
from hwsearch.codegen.memory import Memory, memory
from hwsearch.codegen.refuse import refusals
from hwsearch.codegen.refuse_numbers import refusals_of

__all__ = [
    "Generated", "LayerPlan", "Memory", "constant_bytes", "generate", "kernel_files", "memory",
    "refusals", "refusals_of",
]  # fmt: skip
