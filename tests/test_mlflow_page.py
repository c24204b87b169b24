"""MLflow's own page in a real browser: what the link after a search opens.

The store is that of a small search, really run; one of more trials than the page shows at once is
written by hand. Needs Debian's ``chromium`` and ``chromium-driver`` and the package ``selenium``.
With ``HWSEARCH_SCREENSHOTS=<folder>`` the pictures of the documentation are written there.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import factories
import numpy as np
import pytest
from PIL import Image

from hwsearch import links, notes, track
from hwsearch.budget import shown
from hwsearch.deployed_tflite import DeployedTflite
from hwsearch.graph.tflite import read
from hwsearch.report import Report
from hwsearch.track import Tracker

pytestmark = pytest.mark.slow
WAIT_S = 180.0


DIGITS = Path(__file__).parent / "digits.py"
TRIALS = 8
MANY = 120
"""More than MLflow's page shows at once."""


@dataclass(frozen=True)
class Store:
    """A search in MLflow's store: the ids of its experiment, parent run and trials."""

    uri: str
    report: Report
    experiment: str
    parent: str
    runs: dict[int, str]


def stored(uri: str, report: Report) -> Store:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("hwsearch").experiment_id
    runs = client.search_runs([experiment], f"tags.`hwsearch.study` = '{report.study}'")
    numbers = {r.data.tags.get("hwsearch.trial"): r.info.run_id for r in runs}
    parent = numbers.pop(None)
    return Store(uri, report, experiment, parent, {int(n): i for n, i in numbers.items()})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of a real search, of scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("search")
    command = [sys.executable, str(DIGITS), str(folder), str(TRIALS)]
    subprocess.run(command, check=True, capture_output=True, timeout=1200)
    report = Report.load(folder / "mlruns" / "studies" / "digits")
    assert report.chosen is not None and report.scored >= TRIALS
    return stored(f"sqlite:///{folder}/mlruns/mlflow.db", report)


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return store.report


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of many trials, whose figures are invented."""
    report = factories.measured_report(tmp_path_factory.mktemp("artefacts"), MANY)
    folder = tmp_path_factory.mktemp("mlruns")
    tracker = Tracker(None, "hwsearch", report.study, folder, wait_s=WAIT_S)
    logged(tracker, report)
    return stored(tracker.uri, report)


def logged(tracker: Tracker, report: Report) -> None:
    params = {"metric": "accuracy", "mode": "max", "board": report.board.name, "trials": MANY}
    params |= {"backends": "tflm tflm-cmsis-nn", "objectives": " ".join(report.objectives)}
    tracker.start(params, {}, factories.LAYOUT)
    tracker.finish(report, [{"limit": "ram_bytes", "excess": 0.2, "ram_bytes": 29_491}])
    assert (tracker.trouble, tracker.unlogged) == ("", 0)


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
def server(store: Store) -> Iterator[str]:
    with served("ui", "--backend-store-uri", store.uri) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not shutil.which("chromedriver"):
        assert os.environ.get("HWSEARCH_REQUIRE_BROWSER") != "1", "chromium-driver is missing"
        pytest.skip("no chromium-driver here")
    from selenium import webdriver

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
        shot.quantize(256).save(Path(folder) / name, optimize=True)


def root(server: str, store: Store, run_id: str = "") -> str:
    return f"{server}/#/experiments/{store.experiment}/runs/{run_id or store.parent}"


def rows(browser: Any) -> list[str]:
    """Ids of the runs that the table shows, from above."""
    script = (
        "return [...document.querySelectorAll('a[href*=\"/runs/\"]')].map(a => "
        "[a.getBoundingClientRect().y, a.href.match(/runs\\/([0-9a-f]{32})/)?.[1]])"
    )
    found = sorted((y, run_id) for y, run_id in browser.execute_script(script) if run_id)
    return list(dict.fromkeys(run_id for _, run_id in found))


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
    browser: Any, server: str, store: Store, report: Report
) -> None:
    page = report.tracking.split(", then ")[1].replace(links.LOCAL, server)
    assert track.pages(store.uri, server) == {report.study: page}
    opened(browser, page)
    columns = ("accuracy", "flash_bytes", "ram_bytes", "latency_s", "backend")
    text = text_with(browser, *columns, f"{report.scored} matching runs")
    star = f"★ {report.chosen.verified.trained.score.value:.3f}".replace("0.", ".")
    assert star in text
    above = rows(browser)
    assert set(above) == set(store.runs.values()), "every trial, and not the parent run"
    value = {store.runs[t.candidate.number]: t.score.value for t in report.history}
    assert [value[i] for i in above] == sorted(value.values(), reverse=True), "best first"
    picture(browser, "mlflow-trials.png")


def test_a_hundred_of_many_trials_are_shown(browser: Any, large: Store) -> None:
    with served("ui", "--backend-store-uri", large.uri) as server:
        opened(browser, track.pages(large.uri, server)[large.report.study])
        text = text_with(browser, "accuracy", "100 matching runs")
        best = sorted(large.report.history, key=lambda t: -t.score.value)
        positions = [text.find(f"#{t.candidate.number} ") for t in best[:5]]
        assert -1 not in positions and positions == sorted(positions), "flat, best first"
        rejected = f"{root(server, large)}/artifacts/rejected.json"
        opened(browser, f"{rejected}?workflowType=machine_learning")
        text_with(browser, "View as table", "excess", "29491")


def test_the_search_reads_like_a_report(
    browser: Any, server: str, store: Store, report: Report
) -> None:
    from mlflow import MlflowClient

    opened(browser, f"{root(server, store)}?workflowType=machine_learning")
    folded = text_with(browser, report.study, "Show more")
    assert f"Trial {report.chosen.number}: accuracy" in folded, "the verdict is above the fold"
    unfold(browser)
    limit = shown("flash", report.budget.flash)
    for expected in (report.board.name, "channel groups", "limit: flash", limit, "that binds"):
        text_with(browser, expected)
    kept = {a.path for a in MlflowClient(store.uri).list_artifacts(store.parent)}
    drawn = kept & set(notes.PICTURES)
    assert len(drawn) >= 3
    pictures = "[...document.querySelectorAll('img[src*=get-artifact]')]"
    wait(browser, f"{pictures}.length == {len(drawn)}", f"{sorted(drawn)} are not all there")
    wait(browser, f"{pictures}.every(i => i.naturalWidth >= 700)", "a picture is not drawn")
    picture(browser, "mlflow-search.png")
    opened(browser, f"{root(server, store)}/model-metrics?workflowType=machine_learning")
    text_with(browser, "hypervolume", "operator", "live_bytes")
    opened(browser, f"{root(server, store)}/artifacts/pareto.png?workflowType=machine_learning")
    text_with(browser, "pareto.png", "report.html", "memory.png")
    wait(
        browser,
        "[...document.querySelectorAll('img')].some(i => i.naturalWidth >= 800)",
        "the picture is not drawn",
    )


def test_a_trial_has_its_layers_its_curve_and_its_proof(
    browser: Any, server: str, store: Store, report: Report
) -> None:
    run_id = store.runs[report.chosen.number]
    opened(browser, f"{root(server, store, run_id)}?workflowType=machine_learning")
    text_with(browser, "of its limit", "measured", "Show more")
    unfold(browser)
    proof = f"Level of proof: {report.chosen.level}"
    text_with(browser, "channel group", "weight bits", proof)
    picture(browser, "mlflow-trial.png")
    opened(browser, f"{root(server, store, run_id)}/model-metrics?workflowType=machine_learning")
    text_with(browser, "epoch", "loss")
    wait(browser, "document.querySelectorAll('.js-plotly-plot').length > 1", "no curve is drawn")


def test_the_registry_has_the_chosen_model(browser: Any, server: str, report: Report) -> None:
    opened(browser, f"{server}/#/models/{report.study}/versions/1")
    text_with(browser, "@ chosen", report.board.name, "that binds", "Inputs (1)")


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
            if width == 1200:
                table = "document.querySelector('.wide')"
                whole = f"{table}.scrollWidth <= {table}.clientWidth"
                assert browser.execute_script(f"return {whole}"), "the last column is cut off"
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
