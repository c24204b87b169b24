"""The checksum of an RP2040's second-stage boot loader.

``python -m hwsearch.device.boot2 IMAGE.elf`` writes it, as an exported project's Makefile does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hwsearch.device.elf import section
from hwsearch.errors import ImageError

BOOT2_BYTES = 256
"""The boot ROM checks and runs the first 256 bytes of flash (RP2040 datasheet 2.8.1.3.1)."""


def crc32_boot2(code: bytes) -> int:
    """CRC-32 as the RP2040's boot ROM computes it: polynomial 0x04C11DB7, most significant bit
    first, initial value all ones, no final inversion (RP2040 datasheet 2.8.1.3.1)."""
    crc = 0xFFFFFFFF
    for byte in code:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def write_checksum(elf: Path) -> None:
    """Write the checksum into the last word of section ``.boot`` of an ELF, in place.

    Raises:
        ImageError: the section is not 256 bytes long.
    """
    found = section(elf, ".boot")
    if found is None or len(found[1]) != BOOT2_BYTES:
        raise ImageError(
            f"section .boot of {elf} must be {BOOT2_BYTES} bytes, the boot loader's size."
        )
    offset, code = found[0], found[1][: BOOT2_BYTES - 4]
    with elf.open("r+b") as file:
        file.seek(offset + BOOT2_BYTES - 4)
        file.write(crc32_boot2(code).to_bytes(4, "little"))


if __name__ == "__main__":
    write_checksum(Path(sys.argv[1]))
