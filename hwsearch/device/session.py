"""Session: one request, one reply, over a line that may lose, flip, repeat or delay bytes."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hwsearch.device.protocol import (
    CHUNK,
    FIRMWARE_VERSION,
    PROTOCOL_VERSION,
    Command,
    Status,
)
from hwsearch.device.wire import (
    Decoder,
    Frame,
    Hello,
    Memory,
    Ticks,
    command_name,
    encode,
    fault_text,
    status_name,
)
from hwsearch.errors import AbsentError, DeviceError, WireError

CHUNK_LEAST_BYTES = 16
"""A chunk that fails is halved down to this: at 1 % each of bytes dropped, flipped and
repeated a frame of 16 + 16 B still arrives whole two times in five."""

RESTARTS_MOST = 20
"""So often may a device lose its state within one sample before it is given up."""


class Line(Protocol):
    """What carries bytes: a pyserial port, or something that looks like one."""

    def read(self, size: int = 1, /) -> bytes:
        """At most size bytes; b"" if none came within the line's own short timeout."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send all of data."""
        ...

    def close(self) -> None:
        """Give the line back."""
        ...


@dataclass(frozen=True)
class Patience:
    """How long to wait.

    Attributes:
        retry_s: a request without a reply is sent again after this; an invoke, which may take
            long, after up to sixteen times as much.
        request_s: no valid reply within this is a WireError.
        invoke_s: the same for an invoke.
    """

    retry_s: float = 0.3
    request_s: float = 15.0
    invoke_s: float = 300.0


class _Lost(Exception):
    """No reply to one sending of a request, by what came instead."""


class _Silent(_Lost):
    """No reply to one sending of a request in the time that was given."""


class _Restarted(Exception):
    """The device says that it does not know what it was told before."""


class Session:
    """Talks to one device.

    Args:
        line: an open line.
        digest: CRC-32 of the model the device must run; None accepts any.
        patience: how long to wait.

    Attributes:
        retries: requests that were sent again.
        dropped: sound replies that answered nothing asked: late, repeated.
        restarts: samples that were begun again after the device lost its state.
    """

    def __init__(
        self, line: Line, *, digest: int | None = None, patience: Patience | None = None
    ) -> None:
        self._line = line
        self._digest = digest
        self._patience = patience or Patience()
        self._decoder = Decoder()
        self._sequence = random.randrange(1, 0x10000)
        self._chunk = CHUNK_LEAST_BYTES
        self.retries = self.dropped = self.restarts = 0
        self.hello = self.greet()
        self._chunk = self._chunk_most

    def close(self) -> None:
        """Give the line back."""
        self._line.close()

    def greet(self) -> Hello:
        """Ask the device who it is, and check that it is the one expected.

        Raises:
            AbsentError: no answer, another protocol or firmware version, or another model.
        """
        hello = Hello.parse(self._request(Command.HELLO).payload)
        if hello.protocol_version != PROTOCOL_VERSION:
            raise AbsentError(
                f"{hello.board} speaks protocol {hello.protocol_version}, expected "
                f"{PROTOCOL_VERSION}. Flash the firmware of this version of hwsearch."
            )
        if hello.firmware_version != FIRMWARE_VERSION:
            raise AbsentError(
                f"{hello.board} runs firmware {hello.firmware_version}, expected "
                f"{FIRMWARE_VERSION}. Flash the firmware of this version of hwsearch."
            )
        if self._digest is not None and hello.digest != self._digest:
            raise AbsentError(
                f"{hello.board} runs the model with digest {hello.digest:#010x}, expected "
                f"{self._digest:#010x}. Flash the image that was built from this model."
            )
        if self._digest is None:
            self._digest = hello.digest
        return hello

    def run(self, inputs: Sequence[bytes], repeats: int = 1) -> tuple[tuple[bytes, ...], Ticks]:
        """Outputs of one inference, and the ticks of ``repeats`` runs.

        With repeats > 1 the runs that are timed come first; the outputs are those of one more
        with fresh inputs, because a run may overwrite them.

        Raises:
            WireError: the line or the device gave up.
            DeviceError: the core took a fault, or the engine failed.
        """
        wanted = self.hello.input_bytes
        if tuple(map(len, inputs)) != wanted:
            raise DeviceError(
                f"inputs of {[len(i) for i in inputs]} B were given; the device's model takes "
                f"{list(wanted)} B."
            )
        for _ in range(RESTARTS_MOST):
            try:
                ticks = self._load_and_invoke(inputs, repeats)
                if repeats > 1:
                    self._load_and_invoke(inputs, 1)
                return tuple(map(self._output, range(len(self.hello.output_bytes)))), ticks
            except _Restarted:
                self.restarts += 1
                self.greet()  # whoever answers now must still be the right device
        raise WireError(
            f"{self.hello.board} lost its state {RESTARTS_MOST} times within one sample: it keeps "
            "resetting. Check its power supply and its watchdog."
        )

    def memory(self) -> Memory:
        """Arena and stack of the device."""
        return Memory.parse(self._request(Command.MEMORY).payload)

    def layer_ticks(self) -> tuple[int, ...]:
        """Ticks of each layer in the last run; empty when built without them."""
        ticks: list[int] = []
        while len(ticks) < self.hello.layers:
            payload = self._request(Command.LAYERS, len(ticks).to_bytes(2, "little")).payload
            if not payload or len(payload) % 4:
                raise WireError(f"a reply to LAYERS of {len(payload)} B; expected words of 4 B.")
            ticks += [
                int.from_bytes(payload[i : i + 4], "little") for i in range(0, len(payload), 4)
            ]
        return tuple(ticks)

    def reset(self) -> None:
        """Start the device anew; it is greeted again."""
        self._request(Command.RESET)
        self.hello = self.greet()

    @property
    def _chunk_most(self) -> int:
        return max(CHUNK_LEAST_BYTES, self.hello.payload_max_bytes - CHUNK.size)

    def _load_and_invoke(self, inputs: Sequence[bytes], repeats: int) -> Ticks:
        for index, data in enumerate(inputs):
            at = 0
            while at < len(data):
                part = data[at : at + self._chunk]
                try:
                    self._ask(Command.INPUT, CHUNK.pack(index, at) + part)
                    at += len(part)
                except _Lost:
                    continue
        reply = self._request(Command.INVOKE, repeats.to_bytes(2, "little"))
        return Ticks.parse(reply.payload, repeats)

    def _output(self, index: int) -> bytes:
        data = b""
        while len(data) < self.hello.output_bytes[index]:
            count = min(self._chunk, self.hello.output_bytes[index] - len(data))
            request = CHUNK.pack(index, len(data)) + count.to_bytes(2, "little")
            try:
                payload = self._ask(Command.OUTPUT, request).payload
            except _Lost:
                continue
            if len(payload) != count:
                raise WireError(
                    f"a reply to OUTPUT of {len(payload)} B; {count} B were asked for."
                )
            data += payload
        return data

    def _ask(self, command: Command, payload: bytes) -> Frame:
        """A request in chunks: one sending; when it fails, the next chunk is half as long."""
        give_up = time.monotonic() + self._patience.request_s
        try:
            reply = self._once(self._next(command, payload), self._patience.retry_s)
        except _Lost:
            if self._chunk <= CHUNK_LEAST_BYTES:
                return self._request(command, payload, give_up)
            self._chunk = max(CHUNK_LEAST_BYTES, self._chunk // 2)
            self.retries += 1
            raise
        self._chunk = min(self._chunk_most, self._chunk + max(1, self._chunk // 8))
        return reply

    def _request(
        self, command: Command, payload: bytes = b"", give_up: float | None = None
    ) -> Frame:
        """A request, sent under one sequence number until it is answered."""
        frame = self._next(command, payload)
        patience = self._patience
        limit_s = patience.invoke_s if command is Command.INVOKE else patience.request_s
        give_up = give_up or time.monotonic() + limit_s
        # A device that has just started loses its first greeting: ask early and often.
        wait_s = patience.retry_s / 8 if command is Command.HELLO else patience.retry_s
        longest_s = patience.retry_s * (16 if command is Command.INVOKE else 1)
        while True:
            try:
                return self._once(frame, min(wait_s, max(0.0, give_up - time.monotonic())))
            except _Lost as lost:
                if time.monotonic() >= give_up:
                    kind = AbsentError if command is Command.HELLO else WireError
                    raise kind(
                        f"no valid reply to {command.name} within {limit_s:g} s "
                        f"({self._decoder.broken} broken frames seen). The device hangs, is not "
                        "connected, or runs other firmware: check the line, its speed, reset it."
                    ) from None
                self.retries += 1
                if isinstance(lost, _Silent):
                    wait_s = min(2 * wait_s, longest_s)

    def _next(self, command: Command, payload: bytes) -> Frame:
        self._sequence = self._sequence % 0xFFFF + 1
        return Frame(self._sequence, command, Status.OK, payload)

    def _once(self, frame: Frame, wait_s: float) -> Frame:
        """Send a request once and wait for its reply.

        A broken or a MALFORMED frame says that the request or its reply was lost, which saves
        the wait. Asking again is safe: a device that has answered a request only answers again.
        """
        deadline = time.monotonic() + wait_s
        broken = self._decoder.broken
        try:
            self._line.write(encode(frame))
            while True:
                for reply in self._decoder.feed(self._read()):
                    if (reply.sequence, reply.command) == (frame.sequence, frame.command):
                        return _checked(reply)
                    if reply.sequence == 0 and reply.status == Status.MALFORMED:
                        raise _Lost
                    self.dropped += 1
                if self._decoder.broken != broken:
                    raise _Lost
                if time.monotonic() >= deadline:
                    raise _Silent
        except OSError as error:  # serial.SerialException is one
            raise AbsentError(
                f"the line broke ({error}) during {frame_name(frame)}: the device was unplugged, "
                "or the emulator ended. Connect it again and repeat the run."
            ) from error

    def _read(self) -> bytes:
        data = self._line.read(1)
        waiting = getattr(self._line, "in_waiting", 0)
        return data + self._line.read(waiting) if data and waiting else data


def frame_name(frame: Frame) -> str:
    """``"INVOKE"`` and so on, for messages."""
    return command_name(frame.command)


def _checked(reply: Frame) -> Frame:
    if reply.status == Status.OK:
        return reply
    name = frame_name(reply)
    if reply.status == Status.STATE:
        raise _Restarted
    if reply.status == Status.FAULT:
        raise DeviceError(
            f"the core took a hard fault during {name}: {fault_text(reply.payload)}. "
            "Look up pc in the image's map; a pc or lr of 0 with cfsr bit 12 is a stack overflow."
        )
    if reply.status == Status.ENGINE:
        code = int.from_bytes(reply.payload, "little", signed=True)
        raise DeviceError(f"the engine failed with code {code} during {name}.")
    raise WireError(
        f"the device refused {name}: {status_name(reply.status)}. Its firmware and this version "
        "of hwsearch disagree; flash the image again."
    )
