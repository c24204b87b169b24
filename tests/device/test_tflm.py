import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tflite_network import Network

from hwsearch.device import build, tflm
from hwsearch.device import open as open_device
from hwsearch.device.toolchain import find
from hwsearch.errors import DeviceError, ToolchainError, UnknownNameError
from tests.firmware.images import require
from tests.firmware.models import write_model

STAND_IN = Path(__file__).parent / "tflm_stand_in"


def network():
    net = Network(np.random.default_rng(0))
    net.dense(net.input((1, 8)), 4)
    return net.finish()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """HWSEARCH_TFLM with the stand-in's headers and archive."""
    require("arm-none-eabi-gcc", "arm-none-eabi-ar")
    compiler = find("gcc")
    if not Path(compiler.run(["-print-file-name=libstdc++.a"]).strip()).is_absolute():
        require("libstdc++-arm-none-eabi-newlib")
    folder = tmp_path / "tflm"
    shutil.copytree(STAND_IN, folder / "include")
    (folder / "lib").mkdir()
    built = tmp_path / "interpreter.o"
    flags = [*compiler.core_flags("M4"), *tflm.COMPILE, f"-I{STAND_IN}", "-O2"]
    compiler.run([*flags, "-c", STAND_IN / "interpreter.cc", "-o", built])
    subprocess.run(["arm-none-eabi-ar", "rcs", folder / "lib" / tflm.LIBRARY, built], check=True)
    monkeypatch.setenv(tflm.VARIABLE, str(folder))
    return folder


@pytest.mark.emulator
def test_the_engine_runs_over_the_library_that_the_user_names(library, tmp_path):
    require("unicorn", "capstone")
    model = tflm.write_model(network(), tmp_path / "model", 1024)
    image = build(model, "emulator-cortex-m4", tmp_path / "image", engine="tflm")
    sample = bytes(range(200)) * 3
    with open_device("emulator:cortex-m4", image) as device:
        measured = device.run([[sample]])
    assert measured.hello.engine == "tflm"
    assert measured.outputs[0][0] == bytes((b + 1) & 255 for b in sample)
    assert measured.memory.arena_bytes == 600


@pytest.mark.emulator
def test_an_arena_too_small_is_an_engine_error(library, tmp_path):
    require("unicorn", "capstone")
    model = tflm.write_model(network(), tmp_path / "model", 512)
    image = build(model, "emulator-cortex-m4", tmp_path / "image", engine="tflm")
    with (
        open_device("emulator:cortex-m4", image) as device,
        pytest.raises(DeviceError, match=r"engine failed with code 3"),
    ):
        device.memory()


def test_without_a_library_the_refusal_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv(tflm.VARIABLE, raising=False)
    with pytest.raises(ToolchainError, match=r"set HWSEARCH_TFLM to a folder"):
        tflm.library()
    monkeypatch.setenv(tflm.VARIABLE, str(tmp_path))
    with pytest.raises(ToolchainError, match=r"has no include"):
        tflm.library()
    (tmp_path / "include").mkdir()
    with pytest.raises(ToolchainError, match=r"has no lib/libtensorflow-microlite.a"):
        tflm.library()


def test_operators_become_methods_of_the_resolver():
    names = ["conv_2d", "depthwise_conv_2d", "fully_connected", "relu6", "hard_swish"]
    assert [tflm.method_name(n) for n in names] == [
        "AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected", "AddRelu6", "AddHardSwish"
    ]  # fmt: skip


def test_an_unknown_engine_lists_those_there_are(tmp_path):
    model = write_model(tmp_path / "model")
    with pytest.raises(UnknownNameError, match=r"Known: aot, tflm"):
        build(model, "host", tmp_path, engine="tvm")
