"""C text: constant arrays, and one call of a kernel per layer."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

C_TYPES = {name: f"{name}_t" for name in ("int8", "uint8", "int16", "uint16", "int32", "int64")}
C_TYPES["float32"] = "float"
LINE = 110
"""Columns that arrays are wrapped at."""


def number(value: int, wide: bool = False) -> str:
    """A C integer constant expression; the most negative one has no literal of its own."""
    value = int(value)
    ending = "LL" if wide else ""
    if value in (-(2**31), -(2**63)):
        return f"({value + 1}{ending} - 1)"
    return f"{value}{ending}"


@dataclass
class Source:
    """The parts of ``model.c`` while it is written.

    Attributes:
        arrays: definitions of constant arrays.
        constants: definitions of constant structures.
        calls: per layer its comment and its statement.
        kernels: kernel files that the calls need.
        weight_bytes: bytes of the constants so far, by kind.
    """

    arrays: dict[str, str] = field(default_factory=dict)
    constants: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    kernels: set[str] = field(default_factory=set)
    weight_bytes: dict[str, int] = field(default_factory=dict)

    def count(self, part: str, size: int) -> None:
        """Add ``size`` bytes of flash to a part."""
        self.weight_bytes[part] = self.weight_bytes.get(part, 0) + size

    def array(self, name: str, values: NDArray[Any], part: str, align: int = 0) -> str:
        """Define a constant array; gives its name."""
        dtype = str(values.dtype)
        wide = dtype == "int64"
        lines, line = [], "   "
        for value in values.reshape(-1).tolist():
            text = f" {number(value, wide)},"
            if len(line) + len(text) > LINE:
                lines.append(line)
                line = "   "
            line += text
        lines.append(line)
        prefix = f"_Alignas({align}) " if align else ""
        body = "\n".join(lines)
        text = f"{prefix}static const {C_TYPES[dtype]} {name}[{values.size}] = {{\n{body}\n}};"
        self.arrays[name] = text
        self.count(part, values.nbytes)
        return name

    def structure(self, c_type: str, name: str, fields: dict[str, Any], size: int) -> str:
        """Define a constant structure; gives a pointer to it."""
        parts = []
        for key, value in fields.items():
            if isinstance(value, str):
                text = value
            elif isinstance(value, (tuple, list)):
                text = "{" + ", ".join(number(v) for v in value) + "}"
            else:
                text = number(value)
            parts.append(f".{key} = {text}")
        body = textwrap.fill(
            ", ".join(parts), LINE, initial_indent="    ", subsequent_indent="    "
        )
        self.constants.append(f"static const {c_type} {name} = {{\n{body},\n}};")
        self.count("parameters", size)
        return f"&{name}"

    def call(self, comment: str, function: str, file: str, arguments: list[str]) -> None:
        """Append a statement that calls a kernel."""
        self.kernels.add(file)
        self.calls.append((comment, f"{function}({', '.join(arguments)});"))


def float_text(value: np.float32) -> str:
    """A C float literal that reads back as the same float32."""
    text = np.format_float_scientific(value, unique=True)
    return f"{text}f"
