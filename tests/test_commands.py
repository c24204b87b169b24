"""The commands around a search: each on a real report, once through the shell."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import factories
import numpy as np
import pytest

from hwsearch import cli
from hwsearch.cli import COMMANDS
from hwsearch.report import Report


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a command where the study "fashion" lies: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    report = factories.report(tmp_path / "mlruns" / "studies" / "fashion")
    report.save(report.directory / "report.json")

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_report_by_name_folder_and_file(run, tmp_path: Path) -> None:
    folder = tmp_path / "mlruns" / "studies" / "fashion"
    expected = json.loads(json.dumps(Report.load(folder).to_dict()))
    for search in ("fashion", folder, folder / "report.json"):
        code, out, _ = run("report", search, "--json")
        found = json.loads(out)
        assert code == 0 and Path(found.pop("directory")).resolve() == folder
        assert found == {k: v for k, v in expected.items() if k != "directory"}
    code, out, _ = run("report", "fashion")
    assert code == 0 and "chosen" in out and "limit that binds" in out


def test_report_as_a_page(run) -> None:
    code, _, err = run("report", "fashion", "--html", "r.html", "--json")
    assert code == 0 and "r.html" in err
    assert "</html>" in Path("r.html").read_text()


def test_report_where_nothing_fits(run, tmp_path: Path) -> None:
    nothing = factories.report(tmp_path / "none", winner=None, finalists=())
    nothing.save(tmp_path / "none" / "report.json")
    assert run("report", "none", "--json")[0] == 1
    code, _, err = run("export", "none", "out")
    assert code == 2 and "no model of fashion fits" in err


def test_a_search_that_is_not_there(run) -> None:
    for command in (("report", "nope"), ("export", "nope", "out")):
        code, out, err = run(*command)
        assert (code, out) == (2, "") and "there is no report" in err and err.count("\n") == 1


def test_export(run) -> None:
    code, out, _ = run("export", "fashion", "out", "--port", "nucleo-l4r5zi", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["trial"] == Report.load("mlruns/studies/fashion").chosen.number
    assert {"model.tflite", "c/model.c", "firmware/Makefile"} <= set(facts["files"])
    assert "nucleo-l4r5zi" in Path("out/firmware/Makefile").read_text()
    assert "make -C out" in run("export", "fashion", "out")[1]
    other = next(c.number for c in Report.load("out").front if c.number != facts["trial"])
    assert (
        json.loads(run("export", "fashion", "b", "--trial", other, "--json")[1])["trial"] == other
    )
    assert run("report", "out", "--json")[0] == 0, "a bundle is a search too"


def test_compare_a_search_with_itself_and_with_a_bundle(run) -> None:
    run("export", "fashion", "out")
    code, out, _ = run("compare", "fashion", "out", "--max-flash-growth", "0%", "--json")
    found = json.loads(out)
    assert code == 0 and found["growth"]["flash_bytes"] == 0 and found["metric_drop"] == 0
    assert "accuracy" in run("compare", "fashion", "out")[1]


def test_compare_models_as_a_gate(run) -> None:
    from tflite_network import Network

    for name, channels in (("a", 8), ("b", 16)):
        net = Network(np.random.default_rng(0))
        y = net.conv(net.input((1, 8, 8, 4)), channels, (3, 3))
        Path(f"{name}.tflite").write_bytes(net.finish(net.dense(net.mean(y), 4)))
    board = ("--board", "nucleo-l4r5zi")
    code, out, _ = run("compare", "a.tflite", "b.tflite", *board, "--max-latency-growth", "2%")
    assert code == 1 and "latency grew by" in out
    assert run("compare", "b.tflite", "a.tflite", *board, "--max-latency-growth", "2%")[0] == 0
    code, _, err = run("compare", "a.tflite", "b.tflite")
    assert code == 2 and "name the board" in err
    code, _, err = run("compare", "a.tflite", "b.tflite", *board, "--max-flash-growth", "much")
    assert code == 2 and "e.g. 0.02 or 2%" in err


def test_ui_without_a_store(run) -> None:
    code, _, err = run("ui", "fashion")
    assert code == 2 and "mlflow.db" in err


def test_ui_where_the_port_is_taken(run) -> None:
    Path("mlruns/mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = run("ui", "--port", taken.getsockname()[1])
    assert code == 2 and "cannot be listened on" in err and "--port" in err


@pytest.mark.slow
def test_ui_serves_on_loopback_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    from hwsearch.track import Tracker

    tracker = Tracker(None, "hwsearch", "mine", tmp_path / "mlruns", wait_s=600)
    tracker.start({"metric": "accuracy", "mode": "max"})
    assert "hwsearch ui" in tracker.link()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "hwsearch.cli", "ui", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"mine: http://127.0.0.1:{port}/#/experiments/"), line
        words = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True)
        assert "mlflow.db" not in " ".join(json.loads(words.stdout)["command"]), "ps would show it"
        unknown = subprocess.run([*command, "--json", "nope"], cwd=tmp_path, capture_output=True)
        assert unknown.returncode == 2 and b"Known: mine" in unknown.stderr
        for _ in range(300):
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/health", timeout=2
                ) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert process.poll() is None
                time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run, shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0 and "_HWSEARCH_COMPLETE" in out
    assert json.loads(run("completion", shell, "--json")[1])["script"].strip() == out.strip()


def test_what_the_shell_completes() -> None:
    words = {
        "COMP_WORDS": "hwsearch opt",
        "COMP_CWORD": "1",
        "_HWSEARCH_COMPLETE": "bash_complete",
    }
    code = "from hwsearch.cli import main; main([])"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **words},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stdout.split() == ["plain,optimize"]


def test_durations_and_options_in_a_file(run, tmp_path: Path) -> None:
    (tmp_path / "search.toml").write_text('flash = "1 KiB"\n\ntrails = 3\n')
    code, _, err = run("optimize", "m.keras", "--config", "search.toml")
    assert code == 2 and "search.toml, line 3: 'trails' is no option" in err
    code, _, err = run("optimize", "m.keras", "--timeout", "soon")
    assert code == 2 and "'8 h'" in err
    (tmp_path / "search.toml").write_text('flash = "much"\n')
    code, _, err = run("optimize", "m.keras", "--config", "search.toml")
    assert code == 2 and "flash='much' cannot be read" in err
    (tmp_path / "search.toml").write_text('board = "none-such"\n')
    code, _, err = run("optimize", "m.keras", "--config", "search.toml")
    assert code == 2 and "none-such" in err
    board = ("--board", "nucleo-l4r5zi")
    code, _, err = run("optimize", "m.keras", "--config", "search.toml", *board)
    assert code == 2 and "there is no file m.keras" in err, "a flag comes before the file"
    code, _, err = run("optimize", "m.keras", "--data", "nothing.npz")
    assert code == 2 and "there is no file nothing.npz" in err


def test_every_argument_of_optimize_has_an_option() -> None:
    import inspect

    from hwsearch.commands.optimize import command
    from hwsearch.optimization import optimize

    options = {parameter.name for parameter in command.params}
    # The budget is options of its own; fit is of hypermodels, which are code and not a file.
    wanted = set(inspect.signature(optimize).parameters) - {"budget", "fit"}
    assert wanted <= options, f"hwsearch optimize lacks {sorted(wanted - options)}"


def test_every_command_through_the_shell() -> None:
    for name in COMMANDS:
        command = [sys.executable, "-m", "hwsearch.cli", name, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"hwsearch {name}" in done.stdout and done.stderr == ""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import networks

    folder = tmp_path_factory.mktemp("model")
    made = networks.autoencoder()
    made.compile("adam", "mse")
    made.save(folder / "model.keras")
    shape = (64, *made.input_shape[1:])
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=x)
    return folder


def test_estimate_says_that_a_file_is_float(run, model: Path, tmp_path: Path) -> None:
    import networks

    from hwsearch.convert import to_float_tflite

    Path("float.tflite").write_bytes(to_float_tflite(networks.autoencoder()))
    given = ("--board", "nucleo-l4r5zi", "--backend", "tflm")
    _, out, _ = run("estimate", "float.tflite", *given)
    count = json.loads(run("estimate", "float.tflite", *given, "--json")[1])["float_operators"]
    assert count > 0 and f"{count} of " in out and "operators compute in float32" in out
    whole = ("estimate", model / "model.keras", *given)  # quantized as it is read
    assert json.loads(run(*whole, "--json")[1])["float_operators"] == 0
    assert "float32" not in run(*whole)[1]


def test_plan_says_whether_anything_fits(run, model: Path) -> None:
    given = ("optimize", model / "model.keras", "--data", model / "data.npz", "--plan")
    code, out, _ = run(*given, "--board", "nucleo-l4r5zi", "--json")
    found = json.loads(out)
    assert code == 0 and found["feasible"] > 0 and found["nearest"] == {}
    assert found["whole"]["flash_bytes"] > 0 and found["groups"]
    code, out, _ = run(*given, "--board", "nucleo-l4r5zi", "--flash", "2 KiB")
    assert code == 1 and "The nearest is over by flash +" in out
    assert not Path("mlruns/studies/model").exists()


@pytest.fixture(scope="module")
def with_code(model: Path) -> Path:
    """A model whose lambdas call what their module imported, as a file and as bytecode."""
    import keras

    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = keras.layers.Lambda(lambda t: t * 2.0)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    made = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))
    made.compile("adam", "sparse_categorical_crossentropy")
    made.save(model / "code.keras")
    return model


def test_a_model_with_code_is_planned_once_it_is_trusted(run, with_code: Path) -> None:
    given = ("optimize", with_code / "code.keras", "--plan", "--backend", "aot", "--json")
    code, _, err = run(*given)
    assert code == 2 and "--trust-model" in err
    code, out, err = run(*given, "--trust-model")
    assert code == 0 and json.loads(out)["feasible"] > 0, err


@pytest.mark.slow
def test_a_model_with_code_is_searched_once_it_is_trusted(with_code: Path, tmp_path: Path) -> None:
    given = ["optimize", str(with_code / "code.keras"), "--trust-model", "--trials", "1"]
    few = ["--space", "fast", "--backend", "aot", "--directory", str(tmp_path), "--json"]
    command = [sys.executable, "-m", "hwsearch.cli", *given, *few]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failed"] == 0 and found["winner"]["level"] == "image"


@pytest.mark.slow
def test_optimize_from_the_shell(model: Path, tmp_path: Path) -> None:
    given = ["optimize", "model.keras", "--data", "data.npz", "--board", "nucleo-l4r5zi"]
    few = [
        "--trials",
        "1",
        "--space",
        "fast",
        "--study",
        "s",
        "--backend",
        "aot",
        "--export",
        "out",
    ]
    command = [sys.executable, "-m", "hwsearch.cli", *given, *few, "--directory", str(tmp_path)]
    done = subprocess.run([*command, "--json"], cwd=model, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["study"] == "s" and found["winner"]["level"] == "image"
    assert (model / "out" / "firmware" / "Makefile").is_file()
    assert re.search(r"1/1 trials", done.stderr) and "Traceback" not in done.stderr
