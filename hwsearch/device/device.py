"""Device: where images run: hello, run, memory, close; Measured: what a run found."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hwsearch.device.session import Session
from hwsearch.device.wire import Hello, Memory, Ticks
from hwsearch.errors import WireError


@dataclass(frozen=True)
class Cycles:
    """Core cycles of one inference, estimated from an instruction-timing table.

    Attributes:
        low, high: bounds by the core's manual, zero wait states.
        basis: the table's source, and that no silicon has confirmed it.
    """

    low: float
    high: float
    basis: str


@dataclass(frozen=True)
class Measured:
    """What a device found; unknown is None, never 0.

    Attributes:
        hello: which device, engine and model.
        kind: ``"board"``, ``"emulator"`` or ``"host"``.
        outputs: per sample the bytes of each output.
        ticks: per sample, of its runs.
        instructions: of one inference, median over samples; emulators only.
        cycles: of the last inference; only where the emulator estimates them.
        latency_s: of one inference, median over samples; boards only.
        spread: relative half-range of the ticks of all runs: (most - least) / 2 / median.
        memory: arena and stack.
        layer_ticks: per layer of the last run; empty when built without.
    """

    hello: Hello
    kind: str
    outputs: tuple[tuple[bytes, ...], ...]
    ticks: tuple[Ticks, ...]
    instructions: int | None
    cycles: Cycles | None
    latency_s: float | None
    spread: float
    memory: Memory
    layer_ticks: tuple[int, ...] = ()

    @property
    def repeats(self) -> int:
        """Runs that were timed."""
        return sum(t.repeats for t in self.ticks)


class Device(Protocol):
    """Where an image runs."""

    @property
    def hello(self) -> Hello:
        """What it says of itself."""
        ...

    def run(self, samples: Sequence[Sequence[bytes]], repeats: int = 1) -> Measured:
        """Run every sample (bytes of each input), timing each ``repeats`` times.

        Raises:
            WireError: the line or the device gave up.
            DeviceError: the core took a fault, or the engine failed.
        """
        ...

    def memory(self) -> Memory:
        """Arena and stack."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...


class WireDevice:
    """A device at the far end of a wire.

    Args:
        session: a greeted session.
        kind: ``"board"``, ``"emulator"`` or ``"host"``.
        instructions_per_tick: None where ticks are time.
        cycles: the emulator's estimate for the last invoke, where it has one.
        on_close: what else ends with the device, e.g. the emulator's process.
    """

    def __init__(
        self,
        session: Session,
        kind: str,
        *,
        instructions_per_tick: float | None = None,
        cycles: Callable[[], Cycles | None] = lambda: None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.session = session
        self.kind = kind
        self.instructions_per_tick = instructions_per_tick
        self._cycles = cycles
        self._on_close = on_close

    def __enter__(self) -> WireDevice:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def hello(self) -> Hello:
        """What the device says of itself."""
        return self.session.hello

    def run(self, samples: Sequence[Sequence[bytes]], repeats: int = 1) -> Measured:
        """See :meth:`Device.run`; a reset after the last sample is a WireError."""
        outputs, ticks = [], []
        for sample in samples:
            made, timed = self.session.run(sample, repeats)
            outputs.append(made)
            ticks.append(timed)
        layer_ticks = self.session.layer_ticks() if ticks else ()
        memory = self.memory()
        if ticks and memory.stack_bytes and not memory.stack_used_bytes:
            raise WireError(
                f"{self.hello.board} was reset after the last sample: its stack gauge is empty. "
                "Repeat the run."
            )
        middle = statistics.median([t.total / t.repeats for t in ticks]) if ticks else 0.0
        most, least = (
            max((t.most for t in ticks), default=0),
            min((t.least for t in ticks), default=0),
        )
        counted = self.instructions_per_tick
        hz = self.hello.ticks_hz
        return Measured(
            hello=self.hello,
            kind=self.kind,
            outputs=tuple(outputs),
            ticks=tuple(ticks),
            instructions=round(middle * counted) if counted and ticks else None,
            cycles=self._cycles() if ticks else None,
            latency_s=middle / hz if self.kind == "board" and hz and ticks else None,
            spread=(most - least) / 2 / middle if middle else 0.0,
            memory=memory,
            layer_ticks=layer_ticks,
        )

    def memory(self) -> Memory:
        """See :meth:`Device.memory`."""
        return self.session.memory()

    def close(self) -> None:
        """See :meth:`Device.close`."""
        try:
            self.session.close()
        finally:
            self._on_close()
