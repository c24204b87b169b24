"""MLflow's own page in a real browser: what the link after a search opens.

Needs Debian's ``chromium`` and ``chromium-driver`` and the package ``selenium``. With
``HWSEARCH_SCREENSHOTS=<folder>`` the pictures of the documentation are written there.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import factories
import numpy as np
import pytest
from PIL import Image

from hwsearch import links, track
from hwsearch.deployed_tflite import DeployedTflite
from hwsearch.graph.tflite import read
from hwsearch.report import Report
from hwsearch.track import Tracker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="no chromium-driver here"),
]
WAIT_S = 180.0


TRIALS = 120
"""More than MLflow's page shows at once."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return factories.measured_report(tmp_path_factory.mktemp("artefacts"), TRIALS)


def logged(tracker: Tracker, report: Report) -> Tracker:
    params = {"metric": "accuracy", "mode": "max", "board": report.board.name, "trials": TRIALS}
    params |= {"backends": "tflm tflm-cmsis-nn", "objectives": " ".join(report.objectives)}
    tracker.start(params, {}, factories.LAYOUT)
    tracker.finish(report, [{"limit": "ram_bytes", "excess": 0.2, "ram_bytes": 29_491}])
    assert (tracker.trouble, tracker.unlogged) == ("", 0)
    return tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory, report: Report) -> Tracker:
    folder = tmp_path_factory.mktemp("mlruns")
    return logged(Tracker(None, "hwsearch", report.study, folder, wait_s=WAIT_S), report)


@contextlib.contextmanager
def served(*command: str) -> Iterator[str]:
    """The address of ``mlflow <command>`` while the block runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def server(tracker: Tracker) -> Iterator[str]:
    with served("ui", "--backend-store-uri", tracker.uri) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium here")
    options = webdriver.ChromeOptions()
    quiet = ("background-networking", "component-update", "sync", "gpu", "dev-shm-usage", "quic")
    for argument in (
        "headless=new",
        "no-sandbox",
        "no-first-run",
        *(f"disable-{q}" for q in quiet),
    ):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.add_argument("--window-size=1700,950")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


def text_with(browser: Any, *expected: str) -> str:
    """The page's text, once it holds all that is expected."""
    deadline = time.monotonic() + WAIT_S
    while True:
        text = browser.find_element("tag name", "body").text
        if all(e in text for e in expected):
            return text
        assert time.monotonic() < deadline, f"{expected} not in: {text}"
        time.sleep(0.5)


def opened(browser: Any, page: str) -> None:
    """Opens a page afresh: a change behind the # alone does not always redraw it."""
    browser.get("about:blank")
    browser.get(page)


def picture(browser: Any, name: str) -> None:
    folder = os.environ.get("HWSEARCH_SCREENSHOTS")
    if folder:
        for close in browser.find_elements("css selector", "[aria-label='Close']"):
            close.click()
        time.sleep(2)
        shot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
        shot.quantize(96).save(Path(folder) / name, optimize=True)


def root(server: str, tracker: Tracker, run_id: str = "") -> str:
    return f"{server}/#/experiments/{tracker._experiment_id}/runs/{run_id or tracker._parent_id}"


def unfold(browser: Any) -> None:
    """Opens a description that MLflow's page has folded."""
    for button in browser.find_elements("tag name", "button"):
        if button.text == "Show more":
            button.click()


def wait(browser: Any, script: str, why: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not browser.execute_script(f"return {script}"):
        assert time.monotonic() < deadline, why
        time.sleep(0.5)


def test_the_link_opens_the_trials_flat_best_first(
    browser: Any, server: str, tracker: Tracker, report: Report
) -> None:
    page = tracker.link().split(", then ")[1].replace(links.LOCAL, server)
    assert track.pages(tracker.uri, server) == {report.study: page}
    opened(browser, page)
    best = sorted(report.history, key=lambda t: -t.score.value)
    columns = ("accuracy", "flash_bytes", "ram_bytes", "latency_s", "backend")
    text = text_with(browser, *columns, "matching runs")
    assert "100 matching runs" in text, "the first hundred, and the parent is not among them"
    shown = [f"#{t.candidate.number} " for t in best[:5]]
    positions = [text.find(s) for s in shown]
    assert -1 not in positions and positions == sorted(positions), "flat, best first"
    assert f"★ {report.chosen.verified.trained.score.value:.3f}".replace("0.", ".") in text
    picture(browser, "mlflow-trials.png")


def test_the_search_reads_like_a_report(
    browser: Any, server: str, tracker: Tracker, report: Report
) -> None:
    opened(browser, f"{root(server, tracker)}?workflowType=machine_learning")
    folded = text_with(browser, report.study, "Show more")
    assert f"Trial {report.chosen.number}: accuracy" in folded, "the verdict is above the fold"
    unfold(browser)
    for expected in ("rejected", "142", report.board.name, "3: stem 32", "limit that binds"):
        text_with(browser, expected)
    pictures = "[...document.querySelectorAll('img[src*=get-artifact]')]"
    wait(browser, f"{pictures}.length == 4", "overview, memory, operators, estimate")
    wait(browser, f"{pictures}.every(i => i.naturalWidth >= 700)", "a picture is not drawn")
    picture(browser, "mlflow-search.png")
    opened(browser, f"{root(server, tracker)}/model-metrics?workflowType=machine_learning")
    text_with(browser, "hypervolume", "operator", "live_bytes")
    opened(browser, f"{root(server, tracker)}/artifacts/pareto.png?workflowType=machine_learning")
    text_with(browser, "pareto.png", "report.html", "memory.png")
    wait(
        browser,
        "[...document.querySelectorAll('img')].some(i => i.naturalWidth >= 800)",
        "the picture is not drawn",
    )


def test_a_trial_has_its_layers_its_curve_and_its_proof(
    browser: Any, server: str, tracker: Tracker, report: Report
) -> None:
    run_id = tracker._runs[report.chosen.number][0]
    opened(browser, f"{root(server, tracker, run_id)}?workflowType=machine_learning")
    text_with(browser, "of its limit", "measured", "Show more")
    unfold(browser)
    text_with(browser, "channel group", "weight bits", "Level of proof: image")
    picture(browser, "mlflow-trial.png")
    opened(browser, f"{root(server, tracker, run_id)}/model-metrics?workflowType=machine_learning")
    text_with(browser, "epoch", "loss")
    wait(browser, "document.querySelectorAll('.js-plotly-plot').length > 1", "no curve is drawn")


def test_the_registry_has_the_chosen_model(
    browser: Any, server: str, tracker: Tracker, report: Report
) -> None:
    opened(browser, f"{server}/#/models/{report.study}/versions/1")
    text_with(browser, "@ chosen", report.board.name, "limit that binds", "Inputs (1)")


def test_rejected_trials_are_one_table(browser: Any, server: str, tracker: Tracker) -> None:
    opened(
        browser, f"{root(server, tracker)}/artifacts/rejected.json?workflowType=machine_learning"
    )
    text_with(browser, "View as table", "excess", "29491")


def test_the_report_in_one_file_sorts_and_fits_every_width(
    browser: Any, report: Report, tmp_path: Path
) -> None:
    page = report.html(tmp_path / "report.html").as_uri()
    rows = "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[0].innerText)"
    try:
        for width, scheme in ((1200, "light"), (400, "dark")):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            opened(browser, page)
            overflow = "document.documentElement.scrollWidth <= innerWidth"
            assert browser.execute_script(f"return {overflow}"), "the page scrolls sideways"
            ink, paper = browser.execute_script(
                "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
            )
            bright = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (ink, paper)]
            assert (bright[0] > bright[1]) == (scheme == "dark") and abs(
                bright[0] - bright[1]
            ) > 400
            picture(browser, f"report-{width}.png")
        flash = {f"{c.number}": c.known("flash_bytes") for c in report.shown}
        for order in (True, False):  # a first click puts the largest first
            browser.execute_script("document.querySelectorAll('th button')[3].click()")
            found = [flash[n.replace("► ", "")] for n in browser.execute_script(f"return {rows}")]
            assert found == sorted(flash.values(), reverse=order)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_server_by_address_keeps_the_artifacts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs, artifacts and the registered model through ``mlflow server`` alone."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    report = factories.report(tmp_path / "artefacts", trials=5)
    store = ("--backend-store-uri", f"sqlite:///{tmp_path}/server.db")
    place = ("--artifacts-destination", (tmp_path / "kept").as_uri())
    with served("server", *store, *place) as address:
        tracker = Tracker(address, "hwsearch", report.study, tmp_path / "local", wait_s=WAIT_S)
        logged(tracker, report)
        assert not (tmp_path / "local").exists(), "nothing is kept on this machine"
        assert tracker.link().startswith(f"{address}/#/experiments/")
        assert track.pages(address, address) == {report.study: tracker.link()}
        kept = {p.name for p in (tmp_path / "kept").rglob("*") if p.is_file()}
        assert {"overview.png", "report.html", "layers.json", report.chosen.tflite.name} <= kept
        code = (
            "import mlflow, numpy as np\n"
            f"mlflow.set_tracking_uri({address!r})\n"
            f"model = mlflow.pyfunc.load_model('models:/{report.study}@chosen')\n"
            "np.save('y.npy', model.predict(np.load('x.npy')))\n"
        )
        network = read(report.chosen.tflite).graph
        shape = network.tensors[network.inputs[0]].shape
        x = np.random.default_rng(0).normal(0, 1, (2, *shape[1:])).astype(np.float32)
        np.save(tmp_path / "x.npy", x)
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    expected = DeployedTflite(report.chosen.tflite).predict(x)
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)
