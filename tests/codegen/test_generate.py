"""Generated C gives TFLite Micro's bytes: on this host under sanitizers, and on emulated Cortex-M
cores."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from codegen import generated_device
from codegen.generated_host import SANITIZERS, Job, build, differences, oracle, random_samples, run
from tflite_writer import Network, random_network

from hwsearch import codegen as compiler
from hwsearch.codegen.generate import KERNELS
from hwsearch.errors import RefusedError
from hwsearch.graph import tflite

MLPERF = Path(__file__).parents[2] / ".." / "shared" / "models" / "mlperf_tiny"
MODELS = ("kws_ref_model.tflite", "pretrainedResnet_quant.tflite")
needs_mlperf = pytest.mark.skipif(
    not MLPERF.is_dir(), reason="the MLPerf Tiny models are not here"
)


def jobs_of(contents: list[bytes], count: int) -> list[Job]:
    return [
        (c, random_samples(c, count, np.random.default_rng(n))) for n, c in enumerate(contents)
    ]


def networks(count: int, start: int = 0, dtype: str = "int8", bits: int = 8) -> list[bytes]:
    return [
        random_network(np.random.default_rng(seed), dtype, bits)
        for seed in range(start, start + count)
    ]


def wide_networks() -> list[bytes]:
    """Layers with so many values that int16 sums take several spans, and blocks many turns."""
    made = []
    for dtype, bits, channels in (("int16", 8, 120), ("int8", 4, 101), ("int8", 8, 64)):
        net = Network(np.random.default_rng(0), dtype, bits)
        x = net.input((1, 3, 3, channels), 2e-4 if dtype == "int16" else 0.05)
        x = net.depthwise(net.conv(x, 10, (3, 3)), 1, (3, 3), activation="relu6")
        made.append(net.finish(net.dense(net.reshape(x, (1, 90)), 7)))
    net = Network(np.random.default_rng(0), "int16")
    return [*made, net.finish(net.dense(net.input((1, 1500), 2e-4), 7))]


def test_wide_networks_on_host(tmp_path: Path) -> None:
    check_on_host(wide_networks(), tmp_path, 4)


def check_on_host(contents: list[bytes], folder: Path, count: int) -> None:
    jobs = jobs_of(contents, count)
    got = run(build(contents, folder, ["-O1", *SANITIZERS]), jobs)
    wrong = differences(oracle(jobs), got)
    assert wrong == [0] * len(contents), {n: w for n, w in enumerate(wrong) if w}


@needs_mlperf
def test_mlperf_models_on_host(tmp_path: Path) -> None:
    check_on_host([(MLPERF / m).read_bytes() for m in MODELS], tmp_path, 12)


@needs_mlperf
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_mlperf_models_on_a_thousand_inputs(model: str, tmp_path: Path) -> None:
    check_on_host([(MLPERF / model).read_bytes()], tmp_path, 1000)


@pytest.mark.parametrize(
    ("count", "dtype", "bits"), [(60, "int8", 8), (30, "int16", 8), (20, "int8", 4)]
)
def test_random_networks_on_host(count: int, dtype: str, bits: int, tmp_path: Path) -> None:
    check_on_host(networks(count, 0, dtype, bits), tmp_path, 4)


@pytest.mark.slow
@pytest.mark.parametrize("start", [1000, 1100, 1200, 1300])
@pytest.mark.parametrize(("dtype", "bits"), [("int8", 8), ("int16", 8), ("int8", 4)])
def test_many_random_networks_on_host(start: int, dtype: str, bits: int, tmp_path: Path) -> None:
    check_on_host(networks(100, start, dtype, bits), tmp_path, 4)


def test_two_inputs_and_two_outputs(tmp_path: Path) -> None:
    net = Network(np.random.default_rng(3))
    x, y = net.input((1, 6, 5, 4)), net.input((1, 6, 5, 4), 0.02)
    total = net.binary("add", net.conv(x, 4), y)
    content = net.finish(net.depthwise(total), net.pool(total, "max"))
    check_on_host([content], tmp_path, 6)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_series_as_the_converter_writes_them(dtype: str, tmp_path: Path) -> None:
    """Conv1D: expand_dims, a convolution of height 1, squeeze; then dense over several rows."""
    net = Network(np.random.default_rng(6), dtype)
    x = net.input((1, 20, 3))
    axis = net.tensor((1,), "int32", data=np.array([1]))
    y = net.activation((1, 1, 20, 3), *net.quantization(x))
    y = net.conv(net.op("expand_dims", [x, axis], y, "ExpandDimsOptions"), 7, (1, 5), (1, 2))
    z = net.activation((1, 10, 7), *net.quantization(y))
    z = net.op("squeeze", [y], z, "SqueezeOptions", squeezeDims=[1])
    z = net.dense(net.reshape(z, (10, 7)), 5, "relu")
    contents = [net.finish(z)]
    net = Network(np.random.default_rng(7), dtype)
    x = net.unary("tanh")(net.input((1, 12, 6)))
    contents.append(net.finish(net.mean(x, (1,), keep_dims=False)))
    net = Network(np.random.default_rng(8), dtype)
    x = net.pad(net.input((1, 12, 6)), [(0, 0), (2, 3), (0, 1)])
    contents.append(net.finish(net.concat([x, x], 1)))
    check_on_host(contents, tmp_path, 4)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_float_edges(dtype: str, tmp_path: Path) -> None:
    net = Network(np.random.default_rng(3), dtype)
    x = net.tensor((1, 5, 5, 3), "float32")
    net.subgraph.inputs.append(x)
    zero = 0 if dtype == "int16" else 11
    x = net.op("quantize", [x], net.activation((1, 5, 5, 3), 0.03, zero), "QuantizeOptions")
    x = net.conv(x, 4)
    net.op("dequantize", [x], net.tensor((1, 5, 5, 4), "float32"), "DequantizeOptions")
    check_on_host([net.finish()], tmp_path, 6)


@pytest.mark.parametrize("kind", ["same", "valid"])
def test_explicit_padding_is_folded(kind: str, tmp_path: Path) -> None:
    net = Network(np.random.default_rng(4))
    x = net.pad(net.input((1, 7, 6, 4)), [(0, 0), (0, 1), (1, 0), (0, 0)])
    net.depthwise(net.conv(x, 6, (3, 3), (2, 2), kind), 1, (2, 2), (1, 1), "valid")
    content = net.finish()
    made = compiler.generate(content, tmp_path / "c")
    assert ("pad" in [layer.kind for layer in made.layers]) == (kind == "same")
    check_on_host([content], tmp_path, 4)


@pytest.mark.parametrize("flag", ["-DNDEBUG", "-DNN_SHORT_MULTIPLY"])
def test_optimized_portable_code_agrees(flag: str, tmp_path: Path) -> None:
    """Also with the product that Armv6-M makes of 16-bit halves."""
    contents = networks(10, 500)
    jobs = jobs_of(contents, 3)
    got = run(build(contents, tmp_path, ["-O2", flag]), jobs)
    assert differences(oracle(jobs), got) == [0] * len(contents)


SLICE = [("int8", 8, 12), ("int16", 8, 4), ("int8", 4, 6)]


@pytest.mark.emulator
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_networks_on_a_core(core: str, tmp_path: Path) -> None:
    check_on_core("gcc" if "gcc" in generated_device.compilers() else "zig", core, tmp_path, SLICE)


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("core", list(generated_device.CORES))
def test_networks_on_every_core(core: str, compiler: str, tmp_path: Path) -> None:
    check_on_core(compiler, core, tmp_path, [(d, b, 5 * n) for d, b, n in SLICE])


def check_on_core(name: str, core: str, folder: Path, counts: list[tuple[str, int, int]]) -> None:
    if name not in generated_device.compilers():
        pytest.skip(f"no {name} for Cortex-M here")
    contents = [c for dtype, bits, n in counts for c in networks(n, 700, dtype, bits)]
    contents += wide_networks()
    jobs = jobs_of(contents, 3)
    program = generated_device.build(contents, folder, name, core)
    wrong = differences(oracle(jobs), generated_device.run(program, core, jobs))
    assert wrong == [0] * len(contents), {n: w for n, w in enumerate(wrong) if w}


@pytest.mark.emulator
@pytest.mark.parametrize("core", [*generated_device.CORES, "cortex-m55"])
def test_every_kernel_compiles_without_a_warning(core: str, tmp_path: Path) -> None:
    if "gcc" not in generated_device.compilers():
        pytest.skip("no arm-none-eabi-gcc here")
    kernels = sorted(str(p) for p in KERNELS.glob("*.c"))
    flags = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-std=c11", "-O2", "-fsyntax-only"]
    subprocess.run(["arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", *flags, *kernels], check=True)


@needs_mlperf
def test_plan_of_mlperf_models(tmp_path: Path) -> None:
    arenas = [compiler.generate(MLPERF / m, tmp_path / m).arena_bytes for m in MODELS]
    assert arenas == [8512, 34448]  # a change here is news: say so in the commit


def test_header_says_what_the_file_says(tmp_path: Path) -> None:
    net = Network(np.random.default_rng(1))
    net.unary("softmax")(net.dense(net.input((1, 9), 0.5, 7), 4))
    made = compiler.generate(net.finish(), tmp_path)
    text = (tmp_path / "model.h").read_text()
    for line in (
        f"MODEL_DIGEST 0x{made.digest:08x}u", f"MODEL_ARENA_BYTES {made.arena_bytes}",
        "MODEL_INPUT_BYTES 9", "MODEL_INPUT_0_TYPE int8_t", "MODEL_INPUT_0_SCALE 5.e-01f",
        "MODEL_INPUT_0_ZERO_POINT 7", "MODEL_OUTPUT_0_ZERO_POINT (-128)", "MODEL_LAYERS 2",
    ):  # fmt: skip
        assert f"#define {line}" in text


def test_layer_hook_is_used_before_each_layer_and_after_the_last(tmp_path: Path) -> None:
    net = Network(np.random.default_rng(1))
    net.dense(net.dense(net.input((1, 9)), 4), 2)
    compiler.generate(net.finish(), tmp_path)
    (tmp_path / "hook.h").write_text("void hook(int i);\n")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "model.h"\n#include "hook.h"\n'
        'void hook(int i) { printf("%d ", i); }\nint main(void) { return model_invoke(); }\n'
    )
    files = [str(p) for p in tmp_path.glob("*.c")]
    hooks = ["-DMODEL_LAYER_HOOK(i)=hook(i)", '-DMODEL_LAYER_HOOK_HEADER="hook.h"']
    subprocess.run(["gcc", *hooks, *files, "-o", str(tmp_path / "run")], check=True)
    done = subprocess.run([str(tmp_path / "run")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "2"]


def test_a_refusal_names_every_operator(tmp_path: Path) -> None:
    net = Network(np.random.default_rng(1))
    x = net.input((1, 4, 4, 2))
    x = net.op("l2_normalization", [x], net.activation((1, 4, 4, 2), 1 / 128, 0), "L2NormOptions")
    net.op("elu", [x], net.activation((1, 4, 4, 2), 1 / 128, 0))
    with pytest.raises(RefusedError, match=r"(?s)operator 0 \(l2_normal.*operator 1 \(elu\)"):
        compiler.generate(net.finish(), tmp_path)


def test_refusals_of_dtypes() -> None:
    net = Network(np.random.default_rng(1), "int16", 4)
    net.conv(net.input((1, 4, 4, 2)), 3)
    (refusal,) = compiler.refusals(tflite.read(net.finish()).graph)
    assert "weights" in refusal.reason and "8 bits" in refusal.remedy


def _tampered(kind: str, change: str) -> bytes:
    """A network of one layer with one thing wrong."""
    net = Network(np.random.default_rng(1), "int16" if change == "int16_zero" else "int8")
    x = net.input((1, 4, 4, 2))
    y = net.unary(kind)(x) if kind in ("logistic", "hard_swish") else net.conv(x, 3)
    tensors = net.subgraph.tensors
    weights = net.subgraph.operators[0].inputs[1] if kind == "conv" else -1
    if change == "unquantized":
        tensors[y].quantization = None
    elif change == "weights_zero":
        tensors[weights].quantization.zeroPoint = np.array([0, 1, 0])
    elif change == "int16_zero":
        tensors[x].quantization.zeroPoint = np.array([3])
    elif change == "bias":
        tensors[net.subgraph.operators[0].inputs[2]].type = tensors[x].type
        net.model.buffers[-1].data = net.model.buffers[-1].data[:3]
    elif change == "scale":
        tensors[y].quantization.scale = np.array([0.1 if kind == "logistic" else 1e-6], np.float32)
    elif change == "overflow":
        bias = np.full(3, 2**31 - 1, np.int32)
        net.model.buffers[-1].data = np.frombuffer(bias.tobytes(), np.uint8)
    return net.finish()


@pytest.mark.parametrize(
    ("kind", "change", "word"),
    [
        ("conv", "unquantized", "no quantization"), ("conv", "weights_zero", "zero point"),
        ("conv", "int16_zero", "zero point"), ("conv", "bias", "bias"),
        ("logistic", "scale", "TFLite fixes"), ("hard_swish", "scale", "finer"),
        ("conv", "overflow", "exceed 32 bits"),
    ],
)  # fmt: skip
def test_refusals_of_numbers(kind: str, change: str, word: str, tmp_path: Path) -> None:
    model = tflite.read(_tampered(kind, change))
    (refusal,) = compiler.refusals_of(model)
    assert word in refusal.reason and refusal.remedy.endswith(".") and refusal.op_index == 0
    with pytest.raises(RefusedError, match=word):
        compiler.generate(model, tmp_path)
