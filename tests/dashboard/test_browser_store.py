"""The dashboard on PostgreSQL, and what a page does when its store goes away while it is open."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from playwright.sync_api import Page, expect

import trackside

TrainOn = Callable[..., str]
ServeStore = Callable[[str], AbstractContextManager[str]]

CURVE = ".scatterlayer path.js-line"


def row(page: Page, run_id: str):
    return page.locator(f".ag-center-cols-container [row-id='{run_id}']")


def test_runs_are_chosen_and_compared_on_postgresql(
    postgresql_url: str, serve_store: ServeStore, page: Page, train_on: TrainOn
) -> None:
    a, b = train_on(postgresql_url, "one"), train_on(postgresql_url, "two", "tensorflow", rate=0.2)
    with serve_store(postgresql_url) as address:
        page.goto(address)
        for run in (a, b):
            expect(row(page, run)).to_contain_text("100 %", timeout=20_000)
            page.locator(f"[row-id='{run}'] input[type=checkbox]").first.check()
        page.get_by_role("link", name="Compare 2 runs").click()
        panel = page.get_by_role("region", name="Curves of train/loss")
        expect(panel.locator(CURVE)).to_have_count(2, timeout=20_000)
        expect(page.get_by_role("region", name="Parity of the runs")).to_be_visible()
        expect(page.locator("#summary")).to_contain_text("10 ms")
        page.goto("about:blank")  # before the server goes, which a page that polls would report as an error


def test_a_store_that_goes_away_is_said_and_recovers_by_itself(
    postgresql_server: Any, serve_store: ServeStore, page: Page, train_on: TrainOn
) -> None:
    url = postgresql_server.url()
    first = train_on(url, "first")
    other = page.context.new_page()
    errors: list[str] = []
    other.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    with serve_store(url) as address:
        page.goto(address)
        expect(row(page, first)).to_be_visible(timeout=20_000)
        other.goto(f"{address}/compare?runs={first}")
        panel = other.get_by_role("region", name="Curves of train/loss")
        expect(panel.locator(CURVE).first).to_be_attached(timeout=20_000)
        expect(other.locator("#summary table")).to_be_visible()

        postgresql_server.stop()
        expect(page.locator("#banner")).to_contain_text(re.compile(r"\w+.*\.$"), timeout=15_000)
        expect(page.locator("#banner")).not_to_contain_text("Traceback")
        expect(row(page, first)).to_be_visible()  # what was known stays on the page
        other.get_by_role("textbox", name="Horizontal axis").click()
        other.get_by_role("option", name="Epoch").click()
        expect(other.locator("#banner")).not_to_be_empty(timeout=15_000)

        postgresql_server.start()
        page.bring_to_front()
        expect(page.locator("#banner")).to_be_empty(timeout=20_000)
        expect(other.locator("#banner")).to_be_empty(timeout=20_000)
        expect(panel.locator(".xtitle")).to_contain_text("Epoch", timeout=10_000)  # what failed was done again
        with trackside.start_run(name="after", store=url) as run:
            run.log({"train/loss": 1.0}, step=0)
        expect(row(page, run.id)).to_contain_text("after", timeout=15_000)
        for each in (page, other):
            each.goto("about:blank")
    assert not errors
