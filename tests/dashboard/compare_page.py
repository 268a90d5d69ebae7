"""What the browser tests of the Compare page share: its panels, its address, and opening it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

Train = Callable[..., str]

CURVE = ".scatterlayer path.js-line"


def panel(page: Page, metric: str) -> Locator:
    return page.get_by_role("region", name=f"Curves of {metric}")


def parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def open_compare(page: Page, dashboard: str, *runs: str, query: str = "") -> None:
    """Opens the page and waits until a curve is drawn."""
    page.goto(f"{dashboard}/compare?runs={','.join(runs)}{query}")
    expect(page.locator(CURVE).first).to_be_attached(timeout=20_000)
