"""MLflow's own page in a real browser: what the link after a search opens.

Needs Debian's ``chromium`` and ``chromium-driver`` and the package ``selenium``. With
``HWSEARCH_SCREENSHOTS=<folder>`` the pictures of the documentation are written there.
"""

from __future__ import annotations

import os
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
import pytest

from hwsearch import links
from hwsearch.report import Report
from hwsearch.track import Tracker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="no chromium-driver here"),
]
WAIT_S = 180.0


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return factories.report(tmp_path_factory.mktemp("artefacts"), trials=12)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory, report: Report) -> Tracker:
    tracker = Tracker(None, "hwsearch", report.study, tmp_path_factory.mktemp("mlruns"))
    params = {"metric": "accuracy", "mode": "max", "board": report.board.name, "trials": 12}
    tracker.start(params)
    tracker.finish(report, [{"limit": "ram_bytes", "excess": 0.2, "ram_bytes": 29_491}])
    assert tracker.trouble == ""
    return tracker


@pytest.fixture(scope="module")
def server(tracker: Tracker) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", tracker.uri],
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
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium here")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
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
        browser.save_screenshot(str(Path(folder) / name))


def test_the_link_opens_the_trials_flat_best_first(
    browser: Any, server: str, tracker: Tracker, report: Report
) -> None:
    page = tracker.link().split(", then ")[1].replace(links.LOCAL, server)
    opened(browser, page)
    best = sorted(report.history, key=lambda t: -t.score.value)
    text = text_with(browser, "accuracy", "flash_bytes", "ram_bytes", "latency_s", "matching runs")
    assert f"{len(report.history)} matching runs" in text, "the parent is not among the trials"
    shown = [f"#{t.candidate.number} " for t in best[:5]]
    positions = [text.find(s) for s in shown]
    assert -1 not in positions and positions == sorted(positions), "flat, best first"
    assert f"★ {report.chosen.verified.trained.score.value:.3f}".replace("0.", ".") in text
    picture(browser, "mlflow-trials.png")


def test_the_search_has_words_and_pictures(
    browser: Any, server: str, tracker: Tracker, report: Report
) -> None:
    root = f"{server}/#/experiments/{tracker._experiment_id}/runs/{tracker._parent_id}"
    opened(browser, f"{root}?workflowType=machine_learning")
    text_with(browser, report.study, "rejected", "142", report.board.name)
    picture(browser, "mlflow-search.png")
    opened(browser, f"{root}/artifacts/pareto.png?workflowType=machine_learning")
    text_with(browser, "pareto.png", "report.html", "memory.png")
    deadline = time.monotonic() + WAIT_S
    while not any(
        i.get_property("naturalWidth") >= 800
        for i in browser.find_elements("css selector", "img[src*='pareto'], img[src^='blob:']")
    ):
        assert time.monotonic() < deadline, "the picture is not drawn"
        time.sleep(0.5)
    picture(browser, "mlflow-pareto.png")


def test_rejected_trials_are_one_table(browser: Any, server: str, tracker: Tracker) -> None:
    root = f"{server}/#/experiments/{tracker._experiment_id}/runs/{tracker._parent_id}"
    opened(browser, f"{root}/artifacts/rejected.json?workflowType=machine_learning")
    text_with(browser, "View as table", "excess", "29491")
