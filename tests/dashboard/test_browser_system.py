"""The System page as a person uses it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

import trackside

from .compare_page import CURVE, panel

PATIENCE = 20_000


def zooms(page: Page) -> list[str]:
    ranges = "all => all.map(one => one._fullLayout.xaxis.range.map(end => end.toFixed(4)).join())"
    found: list[str] = page.locator("#system-body .js-plotly-plot").evaluate_all(ranges)
    return found


def wait_for_end(page: Page, accepted: Callable[[float], bool]) -> None:
    """Waits until the second panel's x axis ends as wanted, ten seconds at most."""
    for _ in range(100):
        if accepted(float(zooms(page)[1].split(",")[1])):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"the x axes are {zooms(page)}")


def test_panels_zoom_together_and_the_address_holds_it(dashboard: str, page: Page, train: Callable[..., str]) -> None:
    a, b = train("torch run"), train("keras run", "tensorflow")
    page.goto(f"{dashboard}/compare?runs={a},{b}")
    page.get_by_role("link", name="System").click(timeout=PATIENCE)
    loss, memory = panel(page, "train/loss"), panel(page, "process/memory_bytes")
    expect(loss.locator(CURVE).first).to_be_attached(timeout=PATIENCE)
    expect(memory.locator(CURVE).first).to_be_attached()
    assert len(set(zooms(page))) == 1
    expect(page.locator(".notice")).to_contain_text("No GPU was read")
    rows = page.get_by_role("region", name="Devices").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("954 MiB")

    page.locator("#system-axis").click()
    page.get_by_role("option", name="Step", exact=True).click()
    expect(page).to_have_url(re.compile("axis=step"))
    wait_for_end(page, lambda end: end == 59)
    area = loss.locator(".nsewdrag").first
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40, steps=8)
    page.mouse.up()
    expect(page).to_have_url(re.compile("x="))
    wait_for_end(page, lambda end: end < 40)
    assert len(set(zooms(page))) == 1
    low, high = map(float, parse_qs(urlsplit(page.url).query)["x"][0].split(","))
    assert 10 < low < 20
    assert 25 < high < 35
    page.reload()
    expect(loss.locator(CURVE).first).to_be_attached(timeout=PATIENCE)
    assert zooms(page)[1] == f"{low:.4f},{high:.4f}"
    page.get_by_role("button", name="Reset zoom").click()
    wait_for_end(page, lambda end: end == 59)
    expect(page.get_by_role("button", name="Reset zoom")).to_be_disabled()


def test_a_run_not_sampled_says_what_to_do_and_readings_appear_live(
    dashboard: str, page: Page, sqlite_url: str
) -> None:
    run = trackside.start_run(name="live", project="system", store=sqlite_url)
    try:
        run.log({"train/loss": 1.0}, step=0)
        page.goto(f"{dashboard}/system?runs={run.id}")
        expect(page.locator(".empty")).to_contain_text("system=True", timeout=PATIENCE)
        for step in range(1, 4):
            run.log({"train/loss": 1.0 / step, "cpu/percent": 10.0 * step}, step=step)
        expect(panel(page, "cpu/percent").locator(CURVE)).to_have_count(1, timeout=PATIENCE)
        devices = page.get_by_role("region", name="Devices")
        expect(devices).to_contain_text("20 %")
        run.log({"cpu/percent": 100.0}, step=4)
        expect(devices).to_contain_text("100 %", timeout=PATIENCE)
    finally:
        run.finish()
