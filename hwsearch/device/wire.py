"""Frames and messages of the wire, as values; no I/O. The same frames as ``firmware/wire.c``.

A frame on the line is COBS (Cheshire and Baker, 1999) between zero bytes around header, payload
and CRC-32. COBS leaves no zero inside, so a reader is in step again at the next zero whatever was
lost; the CRC and the header's length tell a sound frame from a broken one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from hwsearch.device.protocol import (
    CRC_BYTES,
    FAULT_WORDS,
    HEADER,
    HELLO,
    INVOKE,
    MEMORY,
    PAYLOAD_MAX_BYTES,
    Command,
    Status,
)
from hwsearch.errors import WireError

FRAME_MAX_BYTES = HEADER.size + PAYLOAD_MAX_BYTES + CRC_BYTES
GROUP_MAX = 254


@dataclass(frozen=True)
class Frame:
    """One request or reply.

    Attributes:
        sequence: a reply has its request's; 0 only in a MALFORMED reply.
        command, status: as on the line; numbers that no :class:`Command` or :class:`Status` has
            are kept.
        payload: at most PAYLOAD_MAX_BYTES bytes.
    """

    sequence: int
    command: int
    status: int = Status.OK
    payload: bytes = b""


def cobs_encode(data: bytes) -> bytes:
    """Bytes without a zero that decode to data."""
    out = bytearray()
    parts = data.split(b"\0")
    for position, part in enumerate(parts):
        while len(part) >= GROUP_MAX:
            out += bytes([GROUP_MAX + 1]) + part[:GROUP_MAX]
            part = part[GROUP_MAX:]
            if not part and position == len(parts) - 1:
                return bytes(out)  # a full last group needs no empty one after it
        out += bytes([len(part) + 1]) + part
    return bytes(out)


def encode(frame: Frame) -> bytes:
    """The bytes of a frame on the line, delimiters included.

    Raises:
        WireError: the payload is too long for a frame.
    """
    if len(frame.payload) > PAYLOAD_MAX_BYTES:
        raise WireError(
            f"a payload of {len(frame.payload)} B exceeds a frame's {PAYLOAD_MAX_BYTES} B: "
            "send it in chunks."
        )
    header = HEADER.pack(len(frame.payload), frame.sequence, frame.command, frame.status)
    body = header + frame.payload
    return b"\0" + cobs_encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")) + b"\0"


def cobs_decode(data: bytes) -> bytes | None:
    """What data, free of zeros, encodes; None if it ends inside a group."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        group = data[at + 1 : at + code]
        if len(group) != code - 1:
            return None
        out += group
        at += code
        if code <= GROUP_MAX and at < len(data):
            out.append(0)
    return bytes(out)


def decode(data: bytes) -> Frame | None:
    """The frame that COBS bytes without delimiters hold; None if they hold no sound frame."""
    body = cobs_decode(data)
    if body is None or not HEADER.size + CRC_BYTES <= len(body) <= FRAME_MAX_BYTES:
        return None
    body, crc = body[:-CRC_BYTES], body[-CRC_BYTES:]
    length, sequence, command, status = HEADER.unpack_from(body)
    if length != len(body) - HEADER.size or zlib.crc32(body) != int.from_bytes(crc, "little"):
        return None
    return Frame(sequence, command, status, body[HEADER.size :])


@dataclass
class Decoder:
    """Turns the bytes of a line into frames, however they are cut.

    Attributes:
        broken: how many runs of bytes between delimiters were no frame.
    """

    broken: int = 0
    _pending: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[Frame]:
        """The sound frames that data completes; broken ones are only counted."""
        *ended, rest = data.split(b"\0")
        frames = []
        for part in ended:
            run = bytes(self._pending) + part
            self._pending.clear()
            if run:
                frame = decode(run)
                if frame is None:
                    self.broken += 1
                else:
                    frames.append(frame)
        # One byte more than the longest frame is enough to know that it is too long.
        longest = FRAME_MAX_BYTES + FRAME_MAX_BYTES // GROUP_MAX + 2
        self._pending += rest[: max(0, longest - len(self._pending))]
        return frames


@dataclass(frozen=True)
class Hello:
    """What a device says of itself.

    Attributes:
        protocol_version, firmware_version: compared with the host's own.
        digest: CRC-32 of the model's ``.tflite``.
        ticks_hz: rate of its tick counter; 0: a tick is an instruction.
        clock_hz: core clock; 0: unknown.
        payload_max_bytes: most payload bytes it takes in a frame.
        layers: layers with ticks of their own; 0 when built without.
        input_bytes, output_bytes: of each input and output.
        board, core, engine: names.
    """

    protocol_version: int
    firmware_version: int
    digest: int
    ticks_hz: int
    clock_hz: int
    payload_max_bytes: int
    layers: int
    input_bytes: tuple[int, ...]
    output_bytes: tuple[int, ...]
    board: str
    core: str
    engine: str

    @classmethod
    def parse(cls, payload: bytes) -> Hello:
        """From the payload of a HELLO reply.

        Raises:
            WireError: it has another shape, as another protocol version's has.
        """
        try:
            protocol, firmware, digest, ticks_hz, clock_hz, most, layers, inputs, outputs = (
                HELLO.unpack_from(payload)
            )
            end = HELLO.size + 4 * (inputs + outputs)
            if end > len(payload):
                raise ValueError
            sizes = [
                int.from_bytes(payload[i : i + 4], "little") for i in range(HELLO.size, end, 4)
            ]
            names = payload[end:].split(b"\0")
            board, core, engine, rest = (name.decode("ascii") for name in names)
            if rest:
                raise ValueError
        except (ValueError, struct.error) as error:
            raise WireError(
                f"a greeting of {len(payload)} B cannot be read ({payload[:16].hex()} …): "
                "expected this version's protocol. Flash the firmware of this version of hwsearch."
            ) from error
        return cls(
            protocol, firmware, digest, ticks_hz, clock_hz, most, layers,
            tuple(sizes[:inputs]), tuple(sizes[inputs:]), board, core, engine,
        )  # fmt: skip


@dataclass(frozen=True)
class Ticks:
    """Ticks of repeated runs: their number, sum, least and most."""

    repeats: int
    total: int
    least: int
    most: int

    @classmethod
    def parse(cls, payload: bytes, repeats: int) -> Ticks:
        """From the payload of an INVOKE reply.

        Raises:
            WireError: it has another size.
        """
        return cls(repeats, *_unpack(INVOKE, payload, "INVOKE"))


@dataclass(frozen=True)
class Memory:
    """RAM of a device, in bytes.

    Attributes:
        arena_bytes: what the engine keeps for activations, scratch and itself.
        stack_used_bytes: high-water mark of the stack below an invoke, by painting; 0: unknown.
        stack_bytes: reserved for the stack; 0: unknown.
    """

    arena_bytes: int
    stack_used_bytes: int
    stack_bytes: int

    @classmethod
    def parse(cls, payload: bytes) -> Memory:
        """From the payload of a MEMORY reply.

        Raises:
            WireError: it has another size.
        """
        return cls(*_unpack(MEMORY, payload, "MEMORY"))


def fault_text(payload: bytes) -> str:
    """The registers of a FAULT reply, e.g. ``"pc=0x00000123 lr=…"``."""
    words = [int.from_bytes(payload[i : i + 4], "little") for i in range(0, len(payload), 4)]
    named = dict(zip(FAULT_WORDS, words, strict=False))
    first = [name for name in ("pc", "lr", "cfsr") if name in named]
    order = first + [name for name in named if name not in first]
    return " ".join(f"{name}={named[name]:#010x}" for name in order)


def status_name(status: int) -> str:
    """``"STATE"`` for 4 and so on."""
    return Status(status).name if status in set(Status) else f"status {status}"


def command_name(command: int) -> str:
    """``"INVOKE"`` for 3 and so on."""
    known = command in set(Command)
    return Command(command).name if known else f"command {command}"


def _unpack(form: struct.Struct, payload: bytes, name: str) -> tuple[int, ...]:
    if len(payload) != form.size:
        raise WireError(f"a reply to {name} of {len(payload)} B; expected {form.size} B.")
    return form.unpack(payload)
