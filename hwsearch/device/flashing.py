"""Writing an image to a board with the tool of its maker, or saying which command would."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from hwsearch.device.elf import segments
from hwsearch.device.image import Image
from hwsearch.device.port import Port
from hwsearch.errors import ImageError, ToolchainError


def _templates(port: Port) -> list[list[str]]:
    """The words of a port's commands, in which ``{elf}`` and ``{bin}`` stand for files."""
    if not port.flash_command:
        raise ImageError(
            f"port {port.name!r} is no board to be flashed; it runs as an emulator does."
        )
    return [shlex.split(command) for command in port.flash_command]


def check_tool(port: Port) -> None:
    """Nothing, if one of the tools that write images to a port's board is on PATH.

    Raises:
        ToolchainError: none is; names them.
        ImageError: the port is no board to be flashed.
    """
    known = [words[0] for words in _templates(port)]
    if not any(map(shutil.which, known)):
        raise ToolchainError(
            f"none of {', '.join(known)} is installed, which write images to {port.name}. "
            "Install one, or leave device out to verify on an emulated core."
        )


def commands(image: Image) -> list[list[str]]:
    """The commands that would write an image to its board, best first.

    Raises:
        ImageError: the image's port is no board to be flashed.
    """
    files = {"elf": image.path, "bin": image.path.with_suffix(".bin")}
    return [[word.format(**files) for word in words] for words in _templates(image.port)]


def flash(image: Image) -> bool:
    """Write an image to its board, by the first of its port's tools that is on PATH.

    Returns:
        Whether a tool was there; if not, the commands are printed for the user to run.

    Raises:
        ImageError: the image's port is no board to be flashed.
        ToolchainError: the tool failed; carries its output.
    """
    known = commands(image)
    command = next((c for c in known if shutil.which(c[0])), None)
    if command is None:
        tools = ", ".join(dict.fromkeys(c[0] for c in known))
        print(f"None of {tools} is installed. Write the image to {image.port.name} by one of:")
        write_binary(image)
        for c in known:
            print("  " + shlex.join(c))
        return False
    if str(image.path.with_suffix(".bin")) in command:
        write_binary(image)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolchainError(
            f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}"
            "Check the board's debug connection and its power."
        )
    return True


def write_binary(image: Image) -> Path:
    """The flash's content as a file beside the ELF, from the first byte of flash on."""
    start = image.port.flash[0]
    content = bytearray()
    for address, data in segments(image.path):
        at = address - start
        content.extend(b"\xff" * (at + len(data) - len(content)))
        content[at : at + len(data)] = data
    path = image.path.with_suffix(".bin")
    path.write_bytes(content)
    return path
