"""Takes the pictures of the documentation from a finished run: ``python docs/pictures.py``.

Needs Debian's chromium. Copies two charts of the last run, builds the static Kedro-Viz site and
photographs its three pipelines and one preview in headless Chromium.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

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


def photograph(site: str) -> None:
    """Save one picture of each pipeline, and one of a chart shown in the side panel."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
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
        browser.close()


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for chart in CHARTS:
        shutil.copyfile(ROOT / "data/08_reporting" / chart, IMAGES / chart)
    subprocess.run(["kedro", "viz", "build", "--include-previews"], cwd=ROOT, check=True)
    with _served(ROOT / "build") as site:
        photograph(site)


if __name__ == "__main__":
    main()
