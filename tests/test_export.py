"""The bundle: complete, reproducible, checked by other programs, and never over foreign files."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import factories
import numpy as np
import pytest
from tflite_network import Network

from hwsearch import boards, oracle
from hwsearch.codegen import generate
from hwsearch.device import Image, build
from hwsearch.device import open as open_device
from hwsearch.device.boot2 import crc32_boot2
from hwsearch.device.elf import section, section_bytes
from hwsearch.device.port import port
from hwsearch.errors import InputError, ModelFileError, UnknownNameError
from hwsearch.graph import tflite
from hwsearch.report import Report

MAKEFILE = "firmware/Makefile"

FILES = {  # beside the sources of the network and the firmware
    "model.tflite",
    "model_data.c",
    "model_data.h",
    "report.json",
    "MODEL_CARD.md",
    "SHA256SUMS",
}


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return factories.report(tmp_path / "search")


def contents(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def alone(made: dict[str, bytes]) -> set[str]:
    return {name for name in made if not name.startswith(("c/", "firmware/"))}


def test_the_bundle_is_whole_and_its_digests_hold(report: Report, tmp_path: Path) -> None:
    out = report.chosen.export(tmp_path / "out")
    made = contents(out)
    assert alone(made) == FILES and made["model.tflite"] == report.chosen.tflite.read_bytes()
    lines = dict(reversed(x.split("  ")) for x in made["SHA256SUMS"].decode().splitlines())
    assert set(lines) == set(made) - {"SHA256SUMS"}
    assert {"c/model.c", "firmware/Makefile", "firmware/main.c"} < set(lines)
    for name, digest in lines.items():
        assert hashlib.sha256(made[name]).hexdigest() == digest


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_sha256sum_agrees(report: Report, tmp_path: Path) -> None:
    out = report.chosen.export(tmp_path / "out")
    subprocess.run(["sha256sum", "--strict", "--check", "SHA256SUMS"], cwd=out, check=True)


def test_made_twice_and_in_another_place_it_is_the_same(report: Report, tmp_path: Path) -> None:
    first = contents(report.chosen.export(tmp_path / "a"))
    again = contents(report.chosen.export(tmp_path / "deep" / "b"))
    assert first == again
    assert contents(report.chosen.export(tmp_path / "a")) == first, "replaces its own"


def test_it_tells_nothing_of_this_machine(report: Report, tmp_path: Path) -> None:
    moved = replace(report, tracking=f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/x.db")
    outside = replace(moved, directory=tmp_path / "elsewhere")  # artefacts not below it
    for each in (moved, outside):
        out = each.chosen.export(tmp_path / "out")
        assert contents(out)
        for name, content in contents(out).items():
            assert str(tmp_path).encode() not in content, name


def test_its_report_loads_and_finds_the_model_beside_it(report: Report, tmp_path: Path) -> None:
    out = report.chosen.export(tmp_path / "out")
    shutil.rmtree(tmp_path / "search")
    again = Report.load(out / "report.json")
    assert again.chosen.tflite == out / "model.tflite" and again.chosen.tflite_bytes
    assert again.chosen.score == report.chosen.score and again.study == report.study


def test_any_finalist_can_be_exported(report: Report, tmp_path: Path) -> None:
    other = next(m for m in report.front if m.number != report.chosen.number)
    out = other.export(tmp_path / "out")
    assert (out / "model.tflite").read_bytes() == other.tflite.read_bytes()
    assert f"trial {other.number}" in (out / "MODEL_CARD.md").read_text().splitlines()[0]


def test_the_card_of_another_finalist_says_what_was_chosen(report: Report, tmp_path: Path) -> None:
    other = next(c for c in report.front if c.number != report.chosen.number)
    card = (other.export(tmp_path / "out") / "MODEL_CARD.md").read_text()
    told = card.split("## How it was found\n\n")[1].split("\n")
    assert (
        told[0] == f"Trial {other.number} is a finalist; the search chose trial "
        f"{report.chosen.number}."
    )
    assert told[2].startswith(f"Trial {report.chosen.number} (")


@pytest.mark.parametrize("change", ["foreign", "edited", "file"])
def test_a_folder_that_no_export_made_is_left_alone(
    report: Report, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "out"
    if change == "file":
        out.write_text("mine")
    else:
        report.chosen.export(out)
        (out / ("notes.txt" if change == "foreign" else "model_data.c")).write_text("mine")
    before = out.read_text() if change == "file" else contents(out)
    with pytest.raises(InputError, match="Name a new folder"):
        report.chosen.export(out)
    assert (out.read_text() if change == "file" else contents(out)) == before
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_a_folder_of_someone_else_is_left_alone(report: Report, tmp_path: Path) -> None:
    (tmp_path / "home" / "photos").mkdir(parents=True)
    (tmp_path / "home" / "photos" / "a.jpg").write_text("x")
    with pytest.raises(InputError, match=r"photos/a\.jpg"):
        report.chosen.export(tmp_path / "home")


def test_an_empty_folder_is_used(report: Report, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert alone(contents(report.chosen.export(tmp_path / "out"))) == FILES


def test_a_missing_or_damaged_artefact_leaves_nothing_behind(
    report: Report, tmp_path: Path
) -> None:
    report.chosen.tflite.write_bytes(b"not a network at all")
    with pytest.raises(ModelFileError):
        report.chosen.export(tmp_path / "out")
    report.chosen.tflite.unlink()
    with pytest.raises(InputError, match="goes on where it stopped"):
        report.chosen.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_card_says_what_a_firmware_author_needs(report: Report, tmp_path: Path) -> None:
    card = (report.chosen.export(tmp_path / "out") / "MODEL_CARD.md").read_text()
    assert re.search(
        r"- input `\w+`: int8 \[1, [\d, ]+\], real = [\d.e-]+ × \(value [−+] \d+\)", card
    )
    assert "Operators to register" in card and "14,336 B" in card and "| ► " in card


@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_array_compiles_and_holds_the_file(
    report: Report, tmp_path: Path, language: str
) -> None:
    compiler = shutil.which("cc" if language == "c" else "c++")
    if compiler is None:
        pytest.skip("no host compiler")
    out = report.chosen.export(tmp_path / "out")
    main = """
    #include "model_data.h"
    #include <stdio.h>
    int main(void) {
      if ((unsigned long)model_data % 16) return 1;
      return fwrite(model_data, 1, model_data_size, stdout) != model_data_size;
    }"""
    (tmp_path / "main.c").write_text(main)
    standard = "-std=c11" if language == "c" else "-std=c++11"
    sources = [str(out / "model_data.c"), str(tmp_path / "main.c")]
    command = [compiler, "-x", language, standard, "-Wall", "-Wextra", "-Werror", f"-I{out}"]
    subprocess.run([*command, *sources, "-o", str(tmp_path / "run")], check=True)
    made = subprocess.run([str(tmp_path / "run")], check=True, capture_output=True).stdout
    assert made == report.chosen.tflite.read_bytes()


# The firmware project


def made_by_make(report: Report, out: Path, toolchain: str, port_name: str | None = None) -> Image:
    """The image that one command builds in an exported bundle."""
    if toolchain == "gcc" and not shutil.which("arm-none-eabi-gcc"):
        pytest.skip("no arm-none-eabi-gcc")
    bundle = report.chosen.export(out, port_name)
    command = ["make", "-s", "-C", str(bundle / "firmware"), f"TOOLCHAIN={toolchain}"]
    done = subprocess.run([*command, f"PYTHON={sys.executable}"], capture_output=True, text=True)
    assert done.returncode == 0 and "warning: unused" not in done.stderr, done.stderr
    elf = bundle / "firmware" / "build" / "image.elf"
    target = port(port_name or "emulator-cortex-m4")
    digest = zlib.crc32((bundle / "model.tflite").read_bytes())
    return Image(elf, target, digest, "aot", toolchain, ("-O2",), section_bytes(elf))


@pytest.mark.emulator
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_the_firmware_builds_with_one_command_and_computes_what_tflite_micro_does(
    report: Report, tmp_path: Path, toolchain: str
) -> None:
    image = made_by_make(report, tmp_path / "out", toolchain)
    content = report.chosen.tflite.read_bytes()
    shape = tflite.read(content).graph.tensors[tflite.read(content).graph.inputs[0]].shape
    given = np.random.default_rng(0).integers(-128, 128, (5, *shape[1:])).astype(np.int8)
    (expected,) = oracle.run(content, [given]).outputs
    with open_device("emulator:cortex-m4", image) as board:
        found = board.run([[row.tobytes()] for row in given], 1)
    assert [outputs[0] for outputs in found.outputs] == [row.tobytes() for row in expected]
    generate(content, tmp_path / "c")
    own = build(tmp_path / "c", "emulator-cortex-m4", tmp_path / "image", toolchain=toolchain)
    assert own.sections == image.sections, "the same image as verify's"
    report.chosen.export(tmp_path / "out")  # what make added is no obstacle


@pytest.mark.emulator
@pytest.mark.parametrize("port_name", ["nucleo-l4r5zi", "pico", "mps2-an386"])
def test_it_builds_for_boards(report: Report, tmp_path: Path, port_name: str) -> None:
    image = made_by_make(report, tmp_path / "out", "zig", port_name)
    assert image.flash_bytes > 0
    if port_name == "pico":
        _, code = section(image.path, ".boot") or (0, b"")
        assert int.from_bytes(code[-4:], "little") == crc32_boot2(code[:-4])


def test_the_port_is_the_boards_own_where_there_is_one(report: Report, tmp_path: Path) -> None:
    assert "emulator-cortex-m4" in (report.chosen.export(tmp_path / "a") / MAKEFILE).read_text()
    on_board = replace(report, board=boards()["nucleo-l4r5zi"])
    text = (on_board.chosen.export(tmp_path / "b") / MAKEFILE).read_text()
    assert "nucleo-l4r5zi" in text and "pyocd flash" in text
    with pytest.raises(UnknownNameError, match="unknown port 'arduino'"):
        report.chosen.export(tmp_path / "c", "arduino")
    with pytest.raises(InputError, match="no firmware project"):
        report.chosen.export(tmp_path / "c", "host")


def test_a_network_that_the_compiler_refuses_is_exported_without_sources(
    report: Report, tmp_path: Path
) -> None:
    net = Network(np.random.default_rng(0), "int16")
    report.chosen.tflite.write_bytes(net.finish(net.unary("hard_swish")(net.input((1, 4, 4, 2)))))
    made = contents(report.chosen.export(tmp_path / "out"))
    assert set(made) == FILES
    assert b"No ahead-of-time C: operator 0 (hard_swish)" in made["MODEL_CARD.md"]
