"""A ``.tflite`` file as objects that can be edited, and back to a file."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that begins at a multiple of 16 bytes, as the schema's ``force_align`` demands.

    The generated Python packer ignores it, and unaligned weights stop a Cortex-M.
    """

    def Pack(self, builder: Any) -> Any:
        data = bytes(self.data) if self.data is not None else b""
        if not data:
            return super().Pack(builder)
        builder.StartVector(1, len(data), 16)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def unpack(content: bytes) -> Any:
    """The file's ``schema.ModelT``, each buffer's data in it.

    The quantizer appends data after the flatbuffer from 256 KiB on (``Buffer.offset``).
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.size > 1:
            buffer.data = content[buffer.offset : buffer.offset + buffer.size]
        buffer.offset = buffer.size = 0
    return model


def duplicate(model: Any, tensor: int) -> int:
    """Index of a new tensor at the end of subgraph 0: a copy of a constant, data and all."""
    subgraph = model.subgraphs[0]
    twin = copy.copy(subgraph.tensors[tensor])
    taken = {other.name for other in subgraph.tensors}
    twin.name = next(
        name for i in itertools.count(1) if (name := b"%s;%d" % (twin.name or b"", i)) not in taken
    )
    twin.buffer = len(model.buffers)
    model.buffers.append(copy.copy(model.buffers[subgraph.tensors[tensor].buffer]))
    subgraph.tensors.append(twin)
    return len(subgraph.tensors) - 1


def pack(model: Any) -> bytes:
    """The file of a ``schema.ModelT``."""
    for buffer in model.buffers:
        buffer.__class__ = _Buffer
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
