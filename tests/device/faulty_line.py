"""A line that drops, flips, repeats and delays bytes, cuts frames short, or ends."""

from __future__ import annotations

import random

from hwsearch.device.session import Line


class FaultyLine:
    """Wraps a line; every probability is per byte and holds in both directions.

    Args:
        line: the sound line.
        seed: of the faults.
        drop, flip, repeat, delay: probabilities; a delay holds back the rest of what is read until
            a later read, as a slow line does.
        cut: probability, per write or read, that the rest of it is lost.
        unplug_after: raise OSError after this many bytes.
    """

    def __init__(
        self,
        line: Line,
        seed: int,
        *,
        drop: float = 0.0,
        flip: float = 0.0,
        repeat: float = 0.0,
        delay: float = 0.0,
        cut: float = 0.0,
        unplug_after: int | None = None,
    ) -> None:
        self.line = line
        self.faults = 0
        self._random = random.Random(seed)
        self._drop, self._flip, self._repeat, self._delay = drop, flip, repeat, delay
        self._cut, self._left = cut, unplug_after
        self._held = b""

    in_waiting = 4096

    def read(self, size: int = 1) -> bytes:
        data = self._held + self._spoil(self.line.read(4096))
        at = next((i for i in range(len(data)) if self._random.random() < self._delay), len(data))
        self.faults += at < len(data)
        self._held = data[at:]
        return data[:at]

    def write(self, data: bytes) -> int:
        # A delay on the way out: the device gets the frame in two pieces.
        spoiled = self._spoil(data)
        at = self._random.randrange(len(spoiled) + 1)
        self.line.write(spoiled[:at])
        self.line.write(spoiled[at:])
        return len(data)

    def close(self) -> None:
        self.line.close()

    def _spoil(self, data: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise OSError(5, "Input/output error")
        out = bytearray()
        for byte in data:
            happens = self._random.random
            if happens() < self._drop:
                self.faults += 1
                continue
            if happens() < self._flip:
                self.faults += 1
                byte ^= 1 << self._random.randrange(8)
            out.append(byte)
            if happens() < self._repeat:
                self.faults += 1
                out.append(byte)
        if out and self._random.random() < self._cut:
            self.faults += 1
            del out[self._random.randrange(len(out)) :]
        return bytes(out)
