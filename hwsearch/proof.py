"""Proof: one artefact compiled, linked and run on a device, every output byte compared."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch import oracle
from hwsearch.board import Board
from hwsearch.candidate import Measurement
from hwsearch.data import Array
from hwsearch.device import Image, build, flashing, port_of
from hwsearch.device import open as open_device
from hwsearch.device.port import port as port_named
from hwsearch.device.port import ports
from hwsearch.device.power import energy, read_trace
from hwsearch.device.serial import check_line
from hwsearch.errors import InputError, RefusedError
from hwsearch.evaluate import quantized
from hwsearch.graph.tflite import TfliteModel, read

EMULATED = {"M0": "m0", "M0+": "m0", "M3": "m3", "M4": "m4", "M7": "m7", "M33": "m33"}
"""The emulated core of each core; one that is not here runs as a Cortex-M33."""

GENERATED = 8
"""Random inputs run where the caller gave none."""


def emulator_of(core: str) -> str:
    """URL of the emulated board nearest to a core."""
    name = core if core in EMULATED else core.partition("+")[0]  # "M33+MVP" is an M33
    return f"emulator:cortex-{EMULATED.get(name, 'm33')}"


def port_on(device: str, board: Board) -> str:
    """Name of the firmware port whose images run on a device for a board.

    Args:
        device: as :func:`verify` takes it: an emulated board has a port of its own.
        board: what is behind a serial port or a socket.

    Raises:
        UnknownNameError: no such form of device.
        InputError: there is no firmware for the board.
    """
    name = port_of(device) or board.port or board.name
    if name not in ports():
        known = ", ".join(p for p in ports() if port_named(p).flash_command)
        raise InputError(
            f"{device} is a board, and there is no firmware for {board.name}: the ports are "
            f"{known}. Name the board that it is, leave device out to verify on an emulated "
            "core, or write a port (docs/porting.md)."
        )
    return name


def reach(device: str, board: Board) -> None:
    """Nothing, if images can be run on a device.

    Raises:
        UnknownNameError: no such form of device.
        InputError: there is no firmware for the board.
        ToolchainError: no tool is installed that writes images to the board.
        WireError: the board's serial port is absent, busy or not permitted.
    """
    name = port_on(device, board)
    if port_of(device) is None:
        flashing.check_tool(port_named(name))
        check_line(device)


def verify(
    artefact: str | Path | bytes,
    device: str = "emulator:cortex-m4",
    samples: Sequence[Array] | Array | None = None,
    *,
    port: str | None = None,
    flags: Sequence[str] = ("-O2",),
    toolchain: str | None = None,
    repeats: int = 1,
    power: str | Path | None = None,
    expected: Sequence[NDArray[Any]] | None = None,
    most_cycles: float = math.inf,
) -> Measurement:
    """Compiles a quantized ``.tflite`` ahead of time, links it, runs it on a device, measures it.

    Args:
        artefact: the ``.tflite``, or its content.
        device: ``"emulator:cortex-m4"``, ``"qemu:mps2-an386"``, ``"serial:///dev/ttyACM0"`` …
        samples: real-valued inputs [samples, …], one array a network input; default random ones.
        port: for a board, the port of its firmware, e.g. ``"nucleo-l4r5zi"``; the image is then
            written to it by the tool that its port names, where that is installed.
        flags: of the compiler.
        toolchain: ``"gcc"`` or ``"zig"``; default the first there is.
        repeats: timed runs a sample.
        power: trace of a power analyser (time, current) taken meanwhile; fills ``energy_j``.
        expected: the outputs to compare with, integers; default the host oracle's.
        most_cycles: that a budget's latency leaves, as the weights of a search's models are
            stored by it; see :func:`hwsearch.codegen.generate`.

    Returns:
        A :class:`Measurement`; ``mismatched_outputs`` counts output bytes that differ. What an
        emulator cannot know (latency, energy) is None; its cycles are the middle of the bounds.

    Raises:
        UnknownNameError: no such form of device.
        RefusedError: the network is not quantized, or the compiler or the oracle refuses an
            operator.
        ImageError: the image does not fit the board.
        ToolchainError: no compiler.
        DeviceError: the device does not answer, or took a fault.
    """
    port_of(device)  # says so now if there is no such device
    model = read(artefact)
    content = model.content
    inputs = _inputs(model, samples)
    with tempfile.TemporaryDirectory(prefix="hwsearch-") as folder:
        image = _image(model, device, port, Path(folder), flags, toolchain, most_cycles)
        if expected is None:
            expected = oracle.run(content, inputs).outputs if oracle.available() else ()
        given = [[values[i].tobytes() for values in inputs] for i in range(len(inputs[0]))]
        with open_device(device, image) as opened:
            found = opened.run(given, repeats)
    compared = mismatched = 0
    for output, values in enumerate(expected):
        wanted = np.ascontiguousarray(values).reshape(len(given), -1)
        for sample, made in enumerate(found.outputs):
            row = np.frombuffer(made[output], wanted.dtype)
            compared += row.nbytes
            mismatched += int((row.view(np.uint8) != wanted[sample].view(np.uint8)).sum())
    joules = None
    if power is not None:
        joules = energy(read_trace(Path(power)), runs=found.repeats).energy_j
    return Measurement(
        device=device,
        kind="board" if found.kind == "board" else "host" if found.kind == "host" else "emulator",
        arena_bytes=found.memory.arena_bytes,
        flash_bytes=image.flash_bytes or None,
        ram_bytes=(image.ram_bytes + found.memory.stack_used_bytes) or None,
        instructions=found.instructions,
        cycles=None if found.cycles is None else (found.cycles.low + found.cycles.high) / 2,
        latency_s=found.latency_s,
        energy_j=joules,
        repeats=found.repeats,
        spread=found.spread,
        compared_outputs=compared,
        mismatched_outputs=mismatched,
    )


def _inputs(model: TfliteModel, samples: Sequence[Array] | Array | None) -> list[NDArray[Any]]:
    """Per network input integers [samples, …]."""
    indexes = model.graph.inputs
    if samples is None:
        rng = np.random.default_rng(0)
        found = []
        for i in indexes:
            tensor = model.graph.tensors[i]
            if tensor.dtype.startswith("float"):
                raise RefusedError(
                    f"the network takes {tensor.dtype}: only quantized ones are compiled. "
                    "Quantize it; hwsearch optimize does, and its --export leaves the .tflite."
                )
            limits = np.iinfo(tensor.dtype)
            size = (GENERATED, *tensor.shape[1:])
            found.append(rng.integers(limits.min, limits.max + 1, size).astype(tensor.dtype))
        return found
    arrays = [samples] if isinstance(samples, np.ndarray) else list(samples)
    if len(arrays) != len(indexes):
        raise InputError(
            f"samples are {len(arrays)} arrays, expected {len(indexes)}: one a network input."
        )
    return [quantized(x, model, i) for x, i in zip(arrays, indexes, strict=True)]


def _image(
    model: TfliteModel,
    device: str,
    port: str | None,
    folder: Path,
    flags: Sequence[str],
    toolchain: str | None,
    most_cycles: float,
) -> Image:
    """The linked image; for a board, written to it."""
    from hwsearch.codegen import generate

    name = port_of(device) or port
    if name is None:
        raise InputError(
            f"{device} is a board, and which firmware port it runs is not known. Name it: "
            "--port nucleo-l4r5zi, in Python port='nucleo-l4r5zi'; docs/porting.md tells "
            "how to write one."
        )
    core = port_named(name).core
    generate(model, folder / "model", core=core, most_cycles=most_cycles)
    image = build(folder / "model", name, folder / "image", flags=flags, toolchain=toolchain)
    if port_of(device) is None:
        flashing.flash(image)
    return image
