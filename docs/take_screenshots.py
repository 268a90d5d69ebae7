"""Takes the pictures of the README from the real dashboard on a real store.

    python docs/take_screenshots.py

trains the small network of `trackside demo` in both frameworks, serves the dashboard, opens the comparison and the
profile in headless Chromium and writes `images/compare-light.png`, `images/profile-light.png` and the same in dark. To
show runs that are there already:

    python docs/take_screenshots.py --store sqlite:///runs.db RUN RUN

The browser is `$CHROMIUM`, a Chromium or Chrome on the path, or Playwright's own download.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import expect, sync_playwright

import trackside

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

IMAGES = Path(__file__).parent / "images"
SCHEMES = ("light", "dark")
WIDTH = 1440  # of the page, in CSS pixels; the picture ends below the first curves
MARGIN = 24
SCALE = 1.5  # device pixels a CSS pixel: sharp on a dense display too
COLORS = 256  # flat colours all over: a palette shrinks the file to a third, and nobody sees it
WAIT_MILLISECONDS = 60_000


def main() -> None:
    """Train if no run was named, then take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="ids or names; none: train digits-cnn")
    parser.add_argument("--store", help="URL of the store that has them")
    parser.add_argument("--query", default="log=1", help="what else the page's address says")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, names = arguments.store, arguments.runs
        if not names:
            store = f"sqlite:///{folder}/trackside.db"
            subprocess.run([*_trackside(), "run", "digits-cnn", "--profile", "--store", store], check=True)
            names = ["digits-cnn-torch", "digits-cnn-tensorflow"]
        with trackside.open_store(store) as opened:
            ids = [opened.run(name).id for name in names]
        with _dashboard(store) as address, sync_playwright() as playwright:
            found = _chromium(playwright.chromium.executable_path)
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            for scheme in SCHEMES:
                runs = ",".join(ids)
                for url, path, ready in (
                    (f"{address}/compare?runs={runs}&{arguments.query}", IMAGES / f"compare-{scheme}.png", _compared),
                    (f"{address}/profile?runs={runs}", IMAGES / f"profile-{scheme}.png", _profiled),
                ):
                    _take(browser, url, scheme, path, ready)
                    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
            browser.close()


def _trackside() -> list[str]:
    return [sys.executable, "-m", "trackside.cli"]


@contextmanager
def _dashboard(store: str | None) -> Iterator[str]:
    """Address of `trackside dashboard` in a process of its own."""
    command = [*_trackside(), "dashboard", "--port", str(_free_port()), *(["--store", store] if store else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()  # printed once it listens
            address = re.search(r"http://\S+?(?=/[ ?\n])", greeting)
            if address is None:
                sys.exit(f"The dashboard did not start: {greeting or 'it said nothing'}")
            yield address[0]
        finally:
            process.terminate()


def _compared(page: Page) -> Locator:
    """Waits until the comparison is drawn; the last thing that the picture shows."""
    loss = page.get_by_role("region", name="Curves of train/loss")
    expect(loss.locator(".scatterlayer path.js-line").first).to_be_attached(timeout=WAIT_MILLISECONDS)
    expect(page.locator("#verdict table").first).to_be_visible(timeout=WAIT_MILLISECONDS)
    return loss


def _profiled(page: Page) -> Locator:
    """The same of the profile."""
    families = page.get_by_role("region", name="Operator families")
    expect(families.locator("tbody tr").first).to_be_visible(timeout=WAIT_MILLISECONDS)
    return families


def _take(browser: Browser, url: str, scheme: str, path: Path, ready: Callable[[Page], Locator]) -> None:
    """Open a page in one colour scheme, wait until everything on it is drawn, and write the picture."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 1200},
        device_scale_factor=SCALE,
        color_scheme=scheme,  # type: ignore[arg-type]  # a literal in their types
    )
    page = context.new_page()
    page.goto(url)
    last = ready(page)
    page.wait_for_load_state("networkidle")
    path.parent.mkdir(exist_ok=True)
    box = last.bounding_box()
    assert box is not None
    shown = {"x": 0.0, "y": 0.0, "width": float(WIDTH), "height": box["y"] + box["height"] + MARGIN}
    page.screenshot(path=path, animations="disabled", full_page=True, clip=shown)  # type: ignore[arg-type]
    context.close()
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def _chromium(bundled: str) -> str:
    for path in (os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        if path:
            return path
    return bundled


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
