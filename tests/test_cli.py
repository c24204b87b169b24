"""The command line: the same numbers as the functions, exit codes, errors in one paragraph."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import numpy as np
import pytest
from architectures import PUBLISHED, needs_published, small_cnn
from tflite_network import Network

from hwsearch import boards, cli, estimate
from hwsearch.backends import backends
from hwsearch.commands import Duration, Share
from hwsearch.commands import estimate as estimate_command
from hwsearch.cost.coefficients import Coefficients
from hwsearch.cost.cost import COSTS

BOARD = "nucleo-l4r5zi"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    net = Network(np.random.default_rng(0))
    x = net.conv(net.input((1, 24, 24, 3)), 16, activation="relu")
    content = net.finish(net.dense(net.mean(x), 10))
    path = tmp_path_factory.mktemp("models") / "net.tflite"
    path.write_bytes(content)
    return str(path)


@pytest.fixture
def run(capsys):
    """Runs a command: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_estimate_prints_what_the_function_gives(run, model):
    code, out, _ = run("estimate", model, "--board", BOARD, "--backend", "tflm", "--json")
    expected = estimate(model, board=BOARD, backend="tflm")
    found = json.loads(out)
    assert code == 0
    assert (found["board"], found["backend"], found["clock_hz"]) == (BOARD, "tflm", 120e6)
    for name in (*COSTS, "macs", "cycles"):
        assert found[name] == getattr(expected, name), name
    for name, band in expected.bands.items():
        edges = found["bands"][name]
        assert (edges["error_low"], edges["error_high"]) == (band.low, band.high)
    assert [op["kind"] for op in found["ops"]] == [op.kind for op in expected.ops]
    assert [op["cycles"] for op in found["ops"]] == [op.cycles for op in expected.ops]


def test_what_is_unknown_is_null(run, model):
    _, out, _ = run("estimate", model, "--board", "stm32h747i-disco", "--json")
    found = json.loads(out)
    assert found["energy_j"] is None
    assert "energy_j" not in found["bands"]


def test_estimate_as_a_table(run, model):
    code, out, err = run("estimate", model, "--board", BOARD)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    table = [line.split() for line in lines if line and line[0].isdigit() and "MACs" not in line]
    assert [row[:2] for row in table] == [
        ["0", "conv_2d"],
        ["1", "mean"],
        ["2", "fully_connected"],
    ]
    shares = [float(row[4].rstrip("%")) for row in table]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert "90 % band" in out
    assert "Fits: for sure" in out


def test_another_clock(run, model):
    _, out, _ = run("estimate", model, "--board", BOARD, "--clock", "60e6", "--json")
    assert json.loads(out)["latency_s"] == pytest.approx(
        2 * estimate(model, board=BOARD).latency_s
    )


def test_an_architecture_in_a_json_file(run, tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(small_cnn()))
    code, out, _ = run("estimate", path, "--board", BOARD, "--json")
    assert code == 0
    assert json.loads(out)["macs"] == estimate(small_cnn(), board=BOARD).macs


@pytest.mark.parametrize(
    ("limits", "code", "fits"),
    [
        ((), 0, "sure"),
        (("--latency", "10 s"), 0, "sure"),
        (("--latency", "1 us"), 1, "no"),
        (("--ram", "1 KiB"), 1, "no"),
    ],
)
def test_limits_make_the_exit_code(run, model, limits, code, fits):
    found, out, _ = run("estimate", model, "--board", BOARD, *limits, "--json")
    assert (found, json.loads(out)["fits"]) == (code, fits)


def test_strictness_is_what_the_user_picks(run, model):
    seconds = estimate(model, board=BOARD).latency_s
    limit = ("--latency", f"{seconds * 1.05} s")
    assert run("estimate", model, "--board", BOARD, *limit)[0] == 0
    assert run("estimate", model, "--board", BOARD, *limit, "--strictness", "sure")[0] == 1


def test_compare_boards_puts_the_smallest_that_fits_first(run, model):
    code, out, _ = run("estimate", model, "--compare", "boards", "--latency", "40 ms", "--json")
    rows = json.loads(out)["estimates"]
    assert code == 0
    assert {row["board"] for row in rows} == set(boards())
    fits = [row["fits"] != "no" for row in rows]
    assert any(fits) and not all(fits)
    assert fits == sorted(fits, reverse=True)
    inside = [row["board"] for row in rows if row["fits"] != "no"]
    memory = [boards()[name].ram_bytes for name in inside]
    assert memory == sorted(memory)
    for row in rows:
        assert (row["cost"]["latency_s"] <= 40e-3) == (row["fits"] != "no")


def test_compare_backends_says_who_refuses(run, tmp_path):
    net = Network(np.random.default_rng(0), "int16")
    path = tmp_path / "wide.tflite"
    path.write_bytes(net.finish(net.conv(net.input((1, 8, 8, 3)), 4)))
    code, out, _ = run("estimate", path, "--board", BOARD, "--compare", "backends", "--json")
    rows = {row["backend"]: row for row in json.loads(out)["estimates"]}
    assert code == 0
    assert set(rows) == set(backends())
    assert rows["tflm"]["cost"] is not None
    assert rows["x-cube-ai-8.1"]["cost"] is None
    assert "16-bit" in rows["x-cube-ai-8.1"]["refused"]
    _, text, _ = run("estimate", path, "--board", BOARD, "--compare", "backends")
    assert "refused" in text and "16-bit" in text


def test_compare_all_is_every_pair(run, model):
    _, out, _ = run("estimate", model, "--compare", "all", "--json")
    assert len(json.loads(out)["estimates"]) == len(boards()) * len(backends())


def test_boards_and_backends(run):
    _, out, _ = run("boards", "--json")
    listed = {board["name"]: board for board in json.loads(out)["boards"]}
    assert set(listed) == set(boards())
    assert listed[BOARD]["ram_bytes"] == boards()[BOARD].ram_bytes
    assert "nucleo-l4r5zi" in run("boards")[1]
    _, out, _ = run("backends", "--json")
    named = {backend["name"]: backend for backend in json.loads(out)["backends"]}
    assert set(named) == set(backends())
    assert "2.3.1" in named["tflm-cmsis-nn"]["versions"]
    assert "estimate" in run("backends")[1]


@needs_published
def test_calibrate_a_folder(run, tmp_path):
    path = tmp_path / "coefficients.json"
    code, out, _ = run("calibrate", PUBLISHED, path, "--json")
    assert code == 0
    assert len(Coefficients.load(path).sets) == json.loads(out)["sets"] > 20


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("estimate", "nothing.tflite", "--board", BOARD), 2, "cannot read nothing.tflite"),
        (("estimate", "MODEL", "--board", "nowhere"), 2, "unknown board 'nowhere'. Known: "),
        (("estimate", "MODEL", "--board", BOARD, "--backend", "x"), 2, "unknown backend 'x'"),
        (("estimate", "MODEL"), 2, "name a board"),
        (("estimate", "MODEL", "--compare", "backends"), 2, "name the board"),
        (("estimate", "MODEL", "--board", BOARD, "--ram", "much"), 2, "cannot be read"),
        (("estimate", "MODEL", "--board", BOARD, "--clock", "-1"), 2, "positive"),
        (("estimate",), 2, "FILE"),
        (("nonsense",), 2, "nonsense"),
        (("calibrate",), 2, "--device"),
        (("calibrate", "/nowhere", "OUT"), 2, "not a folder of published measurements"),
        (("calibrate", "--device", "telepathy:x", "--out", "OUT"), 2, "unknown device"),
    ],
)
def test_errors_are_one_paragraph(run, model, tmp_path, arguments, code, said):
    paths = {"MODEL": model, "OUT": tmp_path / "out.json"}
    found, out, err = run(*(paths.get(a, a) for a in arguments))
    assert found == code
    assert out == ""
    assert said in err
    assert err.startswith("hwsearch: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_refusal_has_its_own_code(run, tmp_path):
    net = Network(np.random.default_rng(0), "int16")
    path = tmp_path / "wide.tflite"
    path.write_bytes(net.finish(net.conv(net.input((1, 8, 8, 3)), 4)))
    code, _, err = run("estimate", path, "--board", BOARD, "--backend", "x-cube-ai-8.1")
    assert code == 3
    assert "operator 0 (conv_2d)" in err


def test_debug_shows_the_traceback(run):
    _, _, err = run("estimate", "nothing.tflite", "--board", BOARD, "--debug")
    assert "Traceback" in err


def test_a_fault_of_ours_says_so(run, model, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(estimate_command.estimation, "of", broken)
    code, _, err = run("estimate", model, "--board", BOARD)
    assert code == 70
    assert "ZeroDivisionError: oops" in err and "Traceback" not in err


def test_ctrl_c(run, model, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(estimate_command.estimation, "of", interrupted)
    assert run("estimate", model, "--board", BOARD)[0] == 130


def test_every_command_has_help_and_both_options(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "Exit codes" in out
    for name in cli.COMMANDS:
        assert name in out
        code, text, _ = run(name, "--help")
        assert code == 0
        assert "--json" in text and "--debug" in text


def test_version(run):
    assert run("--version")[1].startswith("hwsearch, version ")


def test_as_a_program_without_tensorflow(model):
    """Through the shell: streams, exit code, a reader that goes away; no heavy import."""
    command = [sys.executable, "-X", "importtime", "-m", "hwsearch.cli", "boards"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "numpy" in loaded
    assert not loaded & {"tensorflow", "keras", "mlflow", "optuna", "matplotlib", "serial"}
    assert done.stdout.startswith("board")
    piped = f"{sys.executable} -m hwsearch.cli boards | head -1"
    done = subprocess.run(piped, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("board") and done.stderr == ""
    missing = [sys.executable, "-m", "hwsearch.cli", "estimate", "x.tflite", "--board", BOARD]
    done = subprocess.run(missing, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""


def test_a_keras_file_and_nothing_else_is_said(tmp_path):
    import networks

    path = tmp_path / "model.keras"
    networks.autoencoder().save(path)
    command = [sys.executable, "-m", "hwsearch.cli", "estimate", str(path), "--board", BOARD]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["macs"] > 0
    assert done.stderr == ""


def test_shell_completion():
    done = subprocess.run(
        [sys.executable, "-c", "from hwsearch.cli import main; main([])"],
        env={"_HWSEARCH_COMPLETE": "bash_source", "PYTHONPATH": ".", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "complete" in done.stdout


@pytest.mark.emulator
def test_verify_prints_the_measurement(run, model):
    code, out, _ = run("verify", model, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["kind"] == "emulator"
    assert found["compared_outputs"] > 0 == found["mismatched_outputs"]
    assert found["latency_s"] is None
    assert "instructions" in run("verify", model)[1]


def test_alone_it_prints_its_help(run):
    code, out, err = run()
    assert code == cli.UNUSABLE and out == ""
    assert "Commands:" in err and "\n  optimize " in err


@pytest.mark.parametrize(
    ("name", "said"), [("optimise", "mean optimize?"), ("frobnicate", "Known: check, optimize")]
)
def test_an_unknown_command_is_answered_with_the_nearest(run, name, said):
    code, _, err = run(name)
    assert code == cli.UNUSABLE and f"no command {name!r}" in err and said in err


def test_a_data_function_that_raises_is_the_user_s(run, tmp_path):
    (tmp_path / "mine.py").write_text("def data(size):\n    return None\n")
    code, _, err = run("optimize", "model.keras", "--data", f"{tmp_path}/mine.py:data")
    assert code == cli.UNUSABLE and "raised TypeError" in err and "without arguments" in err


def test_verify_says_what_it_takes(run, tmp_path):
    code, _, err = run("verify", str(tmp_path / "model.keras"))
    assert code == cli.UNUSABLE and "makes one" in err


def test_report_looks_at_its_options_first(run, tmp_path):
    code, out, err = run("report", str(tmp_path), "--plot", "figures.xyz")
    assert code == cli.UNUSABLE and ".png or .svg" in err and out == ""


def test_a_worker_without_a_study_leaves_no_file(run, tmp_path):
    path = tmp_path / "studies.db"
    code, _, err = run("worker", "--study", "x", "--storage", f"sqlite:///{path}")
    assert code == cli.FAILED and "no study" in err and not path.exists()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Duration(), "90", 90), (Duration(), "1.5 h", 5400), (Duration(), ".5min", 30),
        (Share(), "2%", 0.02), (Share(), "0.02", 0.02), (Share(), "-1%", -0.01),
    ],
)  # fmt: skip
def test_units(kind, text, value):
    assert kind.convert(text, None, None) == pytest.approx(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(Duration(), t) for t in (".", "1.", "1.2.3 s", "h", "-1")]
    + [(Share(), t) for t in ("nan", "inf%", "%", "two")],
)
def test_units_that_are_none(kind, text):
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)
