"""Fuzz both ends of the wire on one corpus: ``make fuzz-wire``.

``python -m tests.firmware.fuzz c SECONDS`` runs libFuzzer (clang, address and undefined-behaviour
sanitizers) on wire.c and command.c; ``… python EXECUTIONS`` mutates the same corpus through
wire.py and compares every frame with what wire.c reads.
"""

from __future__ import annotations

import ctypes
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hwsearch.device.port import FIRMWARE
from hwsearch.device.protocol import HEADER, Command
from hwsearch.device.toolchain import WARNINGS, find_host
from hwsearch.device.wire import Decoder, Frame, encode
from tests.firmware.models import write_model

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
INCLUDES = [f"-I{FIRMWARE}", f"-I{FIRMWARE / 'ports' / 'host'}"]


def seeds() -> list[bytes]:
    """What the corpus starts from: each command, sound and broken."""
    found = []
    for command in Command:
        payload = bytes([command, 7]) + b"\0\0\0\0\0abc"
        found.append(bytes([128 + len(payload)]) + payload)
        line = encode(Frame(command, command, payload=b"\1\0"))
        found.append(bytes([len(line)]) + line)
    found.append(b"\3\0\x55\0")
    return found


def fuzz_c(seconds: int) -> None:
    """Run libFuzzer; what it finds new stays in a temporary folder, merged into the corpus."""
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hwsearch-fuzz-") as name:
        folder = Path(name)
        model = write_model(folder / "model", inputs=40)
        new = folder / "new"
        new.mkdir()
        for i, seed in enumerate(seeds()):
            (new / f"seed-{i}").write_bytes(seed)
        program = folder / "fuzz"
        sources = [
            HERE / "fuzz_wire.c", FIRMWARE / "wire.c", FIRMWARE / "command.c",
            FIRMWARE / "engines" / "aot" / "engine.c", FIRMWARE / "ports" / "host" / "port.c",
            model / "model.c",
        ]  # fmt: skip
        sanitizers = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
        subprocess.run(
            ["clang", *WARNINGS, "-g", "-O2", *sanitizers, *INCLUDES, f"-I{model}",
             *map(str, sources), "-o", str(program)],
            check=True,
        )  # fmt: skip
        limits = ["-max_len=128", f"-max_total_time={seconds}", "-print_final_stats=1"]
        subprocess.run([program, *limits, new, CORPUS], check=True, cwd=folder)
        subprocess.run([program, "-merge=1", "-max_len=128", CORPUS, new], check=True, cwd=folder)
    print(f"corpus: {len(list(CORPUS.iterdir()))} files")


class WireC:
    """wire.c's decoder in a shared library."""

    def __init__(self, folder: Path) -> None:
        path = folder / "decode.so"
        sources = [HERE / "decode.c", FIRMWARE / "wire.c"]
        find_host().run([*WARNINGS, "-O2", "-fPIC", "-shared", *INCLUDES, *sources, "-o", path])
        self._library = ctypes.CDLL(str(path))
        self._library.decode_line.restype = ctypes.c_uint32
        self._out = ctypes.create_string_buffer(1 << 20)
        self._broken = ctypes.c_uint32()

    def decode(self, line: bytes) -> tuple[list[bytes], int]:
        """Header and payload of every sound frame, and how many broken ones there were."""
        count = self._library.decode_line(line, len(line), self._out, ctypes.byref(self._broken))
        data, at, frames = self._out.raw[:count], 0, []
        while at < count:
            size = int.from_bytes(data[at : at + 2], "little")
            frames.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        return frames, self._broken.value


def lines() -> list[bytes]:
    """What the corpus puts on the line: raw segments as they are, the others as sound frames."""
    found = []
    for path in sorted(CORPUS.iterdir()):
        data, line = path.read_bytes(), b""
        while data:
            kind, data = data[0], data[1:]
            segment, data = data[: kind % 64], data[kind % 64 :]
            if kind < 128:
                line += segment
            elif len(segment) > 2:
                line += encode(Frame(segment[1], segment[0], 0, segment[2:]))
        found.append(line)
    return found


def mutated(line: bytes, rng: random.Random) -> bytes:
    """A line with a few bytes flipped, lost, repeated, or a piece moved."""
    data = bytearray(line)
    for _ in range(rng.randrange(4)):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at]
        elif kind == 2:
            data.insert(at, data[at])
        elif kind == 3:
            data[at] = rng.choice((0, 1, 2, 254, 255))
        elif kind == 4:
            end = rng.randrange(len(data) + 1)
            data[at:at] = data[at:end]
        else:
            del data[at : rng.randrange(len(data) + 1)]
    return bytes(data)


def compare(line: bytes, pieces: int, wire_c: WireC) -> int:
    """Frames that both decoders read of a line; raises AssertionError where they differ."""
    decoder = Decoder()
    frames: list[Frame] = []
    step = max(1, len(line) // pieces)
    for i in range(0, len(line), step):
        frames += decoder.feed(line[i : i + step])
    bodies = [
        HEADER.pack(len(f.payload), f.sequence, f.command, f.status) + f.payload for f in frames
    ]
    got = wire_c.decode(line)
    assert (bodies, decoder.broken) == got, f"wire.py and wire.c differ on {line.hex()}"
    return len(frames)


def fuzz_python(executions: int, seed: int = 0) -> tuple[int, int]:
    """Executions, and frames that were sound."""
    rng = random.Random(seed)
    start = lines()
    sound = 0
    with tempfile.TemporaryDirectory(prefix="hwsearch-fuzz-") as folder:
        wire_c = WireC(Path(folder))
        for line in start:
            compare(line, 1, wire_c)
        for _ in range(executions):
            sound += compare(mutated(rng.choice(start), rng), rng.randrange(1, 5), wire_c)
    return executions, sound


def main() -> None:
    """Fuzz what the command line says."""
    what, amount = sys.argv[1], int(sys.argv[2])
    begun = time.monotonic()
    if what == "c":
        fuzz_c(amount)
    else:
        executions, sound = fuzz_python(amount, seed=int(begun))
        seconds = time.monotonic() - begun
        print(f"{executions:,} executions of wire.py in {seconds:.0f} s, {sound:,} sound frames")


if __name__ == "__main__":
    main()
