import re
import struct
import subprocess
import sys
import zlib

import pytest
from elftools.elf.elffile import ELFFile

from hwsearch.device import boot2, build, elf, flashing, port_of
from hwsearch.device.boot2 import crc32_boot2
from hwsearch.device.image import overflow
from hwsearch.device.port import FIRMWARE, port, ports
from hwsearch.errors import DeviceError, ImageError, ToolchainError, UnknownNameError
from tests.firmware.images import image, require
from tests.firmware.models import write_model

pytestmark = pytest.mark.emulator

CROSS = [name for name in ports() if name != "host"]


@pytest.mark.parametrize("name", CROSS)
def test_every_port_builds_without_a_warning_and_adds_up(name):
    require("arm-none-eabi-gcc")
    built = image(name)
    segments = {}
    with built.path.open("rb") as file:
        read = ELFFile(file)
        assert read["e_machine"] == "EM_ARM"
        for segment in read.iter_segments():
            if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]:
                segments[segment["p_paddr"]] = segment["p_filesz"]
    # What an independent reader finds in the file is what is said of flash, but for alignment.
    whole = built.flash_bytes + built.service_flash_bytes
    assert whole <= sum(segments.values()) <= whole + 16
    assert min(segments) == built.port.flash[0]
    assert built.ram_bytes == 700
    assert 1_000 < built.service_ram_bytes < 1_400
    assert 2_000 < built.service_flash_bytes < 4_000
    assert 500 < built.flash_bytes < 1_300
    assert built.sections[".stack"] == built.port.stack_bytes


@pytest.mark.parametrize("name", ["emulator-cortex-m0", "mps2-an505", "mps3-an547", "pico"])
def test_ziglang_builds_too(name):
    require("ziglang")
    built = image(name, toolchain="zig")
    assert built.toolchain.startswith("zig ")
    assert built.ram_bytes == 700


def test_vectors_point_into_the_image():
    require("arm-none-eabi-gcc")
    built = image("nucleo-l4r5zi")
    with built.path.open("rb") as file:
        vectors = ELFFile(file).get_section_by_name(".vectors")
        stack, reset, _, fault = struct.unpack_from("<4I", vectors.data())
        assert vectors["sh_addr"] == 0x08000000
    assert stack == built.port.ram[0] + built.port.stack_bytes
    for handler in (reset, fault):
        assert handler & 1, "Thumb"
        assert 0x08000040 <= handler < 0x08000000 + built.flash_bytes


def test_the_service_is_apart_from_the_model():
    """A larger model leaves the service as it is, and costs what it is larger."""
    require("arm-none-eabi-gcc")
    small, large = image("mps2-an386"), image("mps2-an386", table_bytes=10_000)
    assert large.service_flash_bytes == small.service_flash_bytes
    assert 10_000 <= large.flash_bytes - small.flash_bytes < 10_040
    assert large.ram_bytes == small.ram_bytes


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize(
    ("options", "section", "region", "excess"),
    [
        ({"table_bytes": 3 << 20}, ".rodata", "2,097,152 B of FLASH", 1 << 20),
        ({"arena": 1 << 20}, ".bss", "655,360 B of RAM", (1 << 20) - 655_360),
    ],
)
def test_an_image_too_large_says_which_section_and_by_how_much(
    tmp_path, toolchain, options, section, region, excess
):
    require("arm-none-eabi-gcc" if toolchain == "gcc" else "ziglang")
    sources = write_model(tmp_path / "model", **options)
    with pytest.raises(ImageError) as error:
        build(sources, "nucleo-l4r5zi", tmp_path, toolchain=toolchain)
    message = str(error.value)
    assert f"exceeds the {region} of nucleo-l4r5zi by" in message
    assert section in message
    by = int(re.search(r"by ([\d,]+) B", message)[1].replace(",", ""))
    assert excess < by < excess + 10_000


def test_overflow_of_both_linkers_is_read():
    gnu = (
        "ld: image.elf section `.rodata' will not fit in region `FLASH'\n"
        "ld: region `FLASH' overflowed by 1234 bytes"
    )
    lld = "ld.lld: error: section '.bss' will not fit in region 'RAM': overflowed by 99 bytes"
    assert "by 1,234 B (section .rodata" in overflow(gnu, port("pico"))
    assert "the 270,336 B of RAM of pico by 99 B (section .bss" in overflow(lld, port("pico"))
    assert overflow("undefined reference to `model_init'", port("pico")) == ""


def test_a_model_that_does_not_compile_shows_the_compilers_words(tmp_path):
    require("arm-none-eabi-gcc")
    sources = write_model(tmp_path / "model", extra="int unused;")
    with pytest.raises(ToolchainError, match=r"unused variable .*unused"):
        build(sources, "mps2-an386", tmp_path)


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(ImageError, match=r"model.h is missing"):
        build(tmp_path, "host", tmp_path)
    (tmp_path / "model.h").write_text("/* nothing */")
    with pytest.raises(ImageError, match=r"defines no MODEL_DIGEST"):
        build(tmp_path, "host", tmp_path)
    with pytest.raises(UnknownNameError, match=r"Known: emulator-cortex-m0"):
        build(tmp_path, "arduino", tmp_path)


def test_the_checksum_of_the_boot_loader():
    """CRC-32/MPEG-2, whose published check value of "123456789" is 0x0376E6E7."""
    assert crc32_boot2(b"123456789") == 0x0376E6E7
    require("arm-none-eabi-gcc")
    with image("pico").path.open("rb") as file:
        boot = ELFFile(file).get_section_by_name(".boot")
        content, address = boot.data(), boot["sh_addr"]
    assert address == 0x10000000 and len(content) == boot2.BOOT2_BYTES
    assert int.from_bytes(content[252:], "little") == crc32_boot2(content[:252])


def test_images_know_their_models_digest():
    require("arm-none-eabi-gcc")
    assert image("mps2-an386", digest=zlib.crc32(b"model")).digest == zlib.crc32(b"model")


def test_a_tool_on_path_flashes(tmp_path, monkeypatch):
    require("arm-none-eabi-gcc")
    built = image("nucleo-l4r5zi")
    tool, log = tmp_path / "st-flash", tmp_path / "log"
    tool.write_text(f'#!/bin/sh\necho "$@" > {log}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert flashing.flash(built)
    binary = built.path.with_suffix(".bin")
    assert log.read_text().split() == ["--reset", "write", str(binary), "0x08000000"]
    content = binary.read_bytes()
    with built.path.open("rb") as file:
        read = ELFFile(file)
        for section in read.iter_sections():
            if section["sh_type"] == "SHT_PROGBITS" and section["sh_addr"] >= 0x08000000:
                at = section["sh_addr"] - 0x08000000
                if section["sh_flags"] & 2 and section["sh_addr"] < 0x20000000:
                    assert content[at : at + section["sh_size"]] == section.data()
    tool.write_text("#!/bin/sh\necho no board >&2; exit 1\n")
    with pytest.raises(DeviceError, match=r"no board"):
        flashing.flash(built)


def test_without_a_tool_the_commands_are_printed(monkeypatch, capsys):
    require("arm-none-eabi-gcc")
    built = image("pico")
    monkeypatch.setattr(flashing.shutil, "which", lambda name: None)
    assert not flashing.flash(built)
    said = capsys.readouterr().out
    assert "None of picotool, openocd, pyocd is installed" in said
    assert f"picotool load --verify --execute {built.path}" in said
    with pytest.raises(ImageError, match=r"no board to be flashed"):
        flashing.flash(image("mps2-an386"))


def test_ports_of_urls():
    assert port_of("loop://") == "host"
    assert port_of("qemu:netduinoplus2") == "netduinoplus2"
    assert port_of("emulator:cortex-m33") == "emulator-cortex-m33"
    assert port_of("/dev/ttyACM0") is None
    with pytest.raises(UnknownNameError, match=r"unknown device 'ftp://x'"):
        port_of("ftp://x")


def test_every_port_names_sources_that_exist():
    for name in ports():
        assert all(path.exists() for path in port(name).source_paths), name
    assert (FIRMWARE / "port.h").exists()


def test_without_pyelftools_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "elftools.elf.elffile", None)
    with pytest.raises(ToolchainError, match="pip install pyelftools"):
        elf.section_bytes(FIRMWARE / "any")


def test_the_package_imports_without_the_extra():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['elftools', 'unicorn', 'capstone']));"
        "import hwsearch.device, hwsearch.device.flashing"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
