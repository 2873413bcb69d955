"""Takes the pictures of the documentation from a finished run: ``python docs/pictures.py [NAME …]``.

Needs Debian's chromium. Copies two charts of the last run, builds the static Kedro-Viz site and photographs its three
pipelines and one preview in headless Chromium, then the page of the service with the model in production.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
CHARTS = ("roc_curve.png", "rates_chart.png")
PIPELINES = ("data_engineering", "training", "serving")
#: Kedro-Viz keeps these in the browser: light, no minimap, no introduction on top of the graph.
PREFERENCES = {
    "theme": "light",
    "showFeatureHints": False,
    "showDatasetPreviews": True,
    "visible": {"graph": True, "miniMap": False, "sidebar": False},
    "flags": {"sizewarning": False},
}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
START_SECONDS = 60
#: Answers before the picture is taken, so that it shows a latency.
WARM_UP = 500


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def _open(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(".pipeline-node", timeout=60_000)
    page.wait_for_timeout(1500)  # the layout is animated


@contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


def photograph_pipelines(site: str) -> None:
    """Save one picture of each pipeline, and one of a chart shown in the side panel."""
    with _chromium() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 1700})
        page.add_init_script(f"localStorage.setItem('KedroViz', {json.dumps(json.dumps(PREFERENCES))})")
        for pipeline in PIPELINES:
            _open(page, f"{site}/?pid={pipeline}")
            page.screenshot(path=str(IMAGES / f"pipeline-{pipeline}.png"))
        _open(page, f"{site}/?pid=training")
        page.locator(".pipeline-node", has_text="roc_curve").click()
        page.wait_for_selector(".preview-image, .pipeline-metadata img", timeout=60_000)
        page.wait_for_timeout(1500)
        page.screenshot(path=str(IMAGES / "pipeline-preview.png"))


@contextmanager
def _service() -> Iterator[str]:
    """Run the service with the model in production, and a cache and a prediction log that nobody else uses."""
    with socket.socket() as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
        listener.close()
        own = {"API_PORT": port, "API_CACHE": f"{folder}/cache", "API_PREDICTION_LOG": f"{folder}/log"}
        process = subprocess.Popen(
            [sys.executable, "-m", "ml_lifecycle.api"],
            cwd=ROOT,
            env={**os.environ, "API_AUTHENTICATION": "off", **own},
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait_until_ready(address: str) -> None:
    deadline, reason = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < deadline:
        try:
            state = requests.get(address, timeout=START_SECONDS).json()
        except requests.ConnectionError as error:
            reason = str(error)
        else:
            if state["ready"]:
                return
            reason = state["reason"]
        time.sleep(0.1)
    raise SystemExit(f"The service has no model: {reason}. Run the pipelines first: `make run`.")


def _ask(service: str, times: int) -> None:
    with requests.Session() as session:
        record = session.get(f"{service}/model", timeout=START_SECONDS).json()["request"]["example"]
        for _ in range(times):
            session.post(f"{service}/predict", json=record, timeout=START_SECONDS).raise_for_status()


def photograph_service(service: str) -> None:
    """Save the page of the model with an answer: at a desk, and on a phone in the dark."""
    _ask(service, WARM_UP)
    with _chromium() as browser:
        desk = browser.new_page(viewport={"width": 1280, "height": 900})
        desk.goto(service, wait_until="networkidle")
        for _ in range(3):
            _predict(desk)
        desk.screenshot(path=str(IMAGES / "service.png"), full_page=True)
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", device_scale_factor=2)
        phone.goto(service, wait_until="networkidle")
        _predict(phone)
        phone.get_by_role("button", name="Predict").scroll_into_view_if_needed()
        phone.evaluate("document.querySelector('#answer').scrollIntoView({block: 'end'})")
        phone.screenshot(path=str(IMAGES / "service-phone.png"))


def _predict(page: Page) -> None:
    with page.expect_response("**/predict"), page.expect_response("**/latency"):
        page.get_by_role("button", name="Predict").click()
    page.wait_for_timeout(100)  # until it is drawn


def charts() -> None:
    """Copy charts of the last run."""
    for chart in CHARTS:
        shutil.copyfile(ROOT / "data/08_reporting" / chart, IMAGES / chart)


def pipelines() -> None:
    """Build the site of the pipelines and photograph it."""
    subprocess.run(["kedro", "viz", "build", "--include-previews"], cwd=ROOT, check=True)
    with _served(ROOT / "build") as site:
        photograph_pipelines(site)


def service() -> None:
    """Start the service and photograph its page."""
    with _service() as address:
        photograph_service(address)


ALL: dict[str, Callable[[], None]] = {made.__name__: made for made in (charts, pipelines, service)}


def main() -> None:
    """Make all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="|".join(ALL), help="which; default: all")
    names = parser.parse_args().names or [*ALL]
    if unknown := sorted(set(names) - set(ALL)):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(ALL)}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in names:
        ALL[name]()


if __name__ == "__main__":
    main()
