"""The numbers both ends of the wire share; ``firmware/protocol.h`` is generated from this file.

``python -m hwsearch.device.header`` rewrites the header; a test fails while it is stale.
"""

from __future__ import annotations

import struct
from enum import IntEnum

PROTOCOL_VERSION = 1
FIRMWARE_VERSION = 1

PAYLOAD_MAX_BYTES = 512
"""Most payload bytes of one frame."""

FAULT_WORDS = ("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr", "cfsr", "hfsr", "mmfar", "bfar")
"""Registers a fault reply carries, uint32 each: the stacked frame, then the fault status
registers (zero on Armv6-M, which has none). Source: Armv7-M ARM DDI 0403, B1.5.6 and B3.2."""

HEADER = struct.Struct("<HHBB")
"""Frame header: payload bytes, sequence number, command, status."""

CRC_BYTES = 4
"""CRC-32 (IEEE 802.3, as zlib's) of header and payload, little-endian, after the payload."""


class Command(IntEnum):
    """What a request asks for."""

    HELLO = 1
    INPUT = 2
    INVOKE = 3
    OUTPUT = 4
    MEMORY = 5
    LAYERS = 6
    RESET = 7


class Status(IntEnum):
    """The error word of a reply; a request carries OK."""

    OK = 0
    MALFORMED = 1
    """A frame arrived broken; sequence number 0. Send it again."""
    COMMAND = 2
    """No such command."""
    ARGUMENT = 3
    """A payload of the wrong size, or an index or range beyond the model's."""
    STATE = 4
    """Not now: input incomplete, or no valid output. What a device says after it was reset."""
    ENGINE = 5
    """The runtime failed; the payload is its error code, int32."""
    FAULT = 6
    """The core took a fault; the payload is its registers (FAULT_WORDS)."""


HELLO = struct.Struct("<HHIIIHHBB")
"""protocol version, firmware version, model digest (CRC-32 of the ``.tflite``), ticks per second
(0: a tick is an instruction), core clock in Hz (0: unknown), payload limit, layers (0: built
without per-layer ticks), inputs, outputs; then uint32 bytes of each input and output; then the
strings board, core, engine, each ended by a zero byte."""

CHUNK = struct.Struct("<BI")
"""INPUT: tensor index, offset; the bytes follow. OUTPUT: the same, then uint16 bytes wanted."""

INVOKE = struct.Struct("<QII")
"""Reply to INVOKE (request: uint16 repeats): sum, least and most ticks of one run."""

MEMORY = struct.Struct("<III")
"""Reply to MEMORY: arena bytes, stack high-water bytes, stack bytes."""
