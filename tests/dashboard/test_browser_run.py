"""The Run page as a person uses it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

import trackside

Train = Callable[..., str]

ODD = '<img src=x onerror=alert(1)> "quoted" 🚂'


def test_everything_about_a_run_is_on_its_page(dashboard: str, page: Page, train: Train, sqlite_url: str) -> None:
    run = train("broken", error=RuntimeError("<b>out of memory</b>"))
    with trackside.open_store(sqlite_url) as store:
        store.attach(run, "notes.txt", "note", b"hello")
    page.goto(dashboard)
    page.get_by_role("link", name="broken").click()
    expect(page).to_have_url(re.compile(rf"/run\?id={run}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("broken", timeout=20_000)
    expect(page.locator(".run-sections")).to_contain_text("<b>out of memory</b>")
    expect(page.get_by_role("row", name="step/seconds")).to_contain_text("10 ms")
    expect(page.locator("#run-read")).to_contain_text(run)
    with page.expect_download() as download:
        page.get_by_role("link", name="notes.txt").click()
    assert download.value.path().read_bytes() == b"hello"
    page.get_by_role("link", name="val/loss").click()
    expect(page.get_by_role("region", name="Curves of val/loss")).to_be_visible(timeout=20_000)


def test_what_people_say_of_a_run_is_kept(dashboard: str, page: Page, train: Train, sqlite_url: str) -> None:
    run = train("first")
    page.goto(f"{dashboard}/run?id={run}")
    page.get_by_role("textbox", name="Name").fill(ODD)
    expect(page.get_by_role("heading", level=1)).to_have_text(ODD, timeout=20_000)
    page.get_by_role("textbox", name="Tags").fill("paper")
    page.get_by_role("textbox", name="Tags").press("Enter")
    expect(page.locator(".page-head .badge", has_text="paper")).to_be_visible()
    page.get_by_role("textbox", name="Notes").fill("warm-up too short")
    with trackside.open_store(sqlite_url) as store:
        for _ in range(100):
            if store.run(run).notes:
                break
            page.wait_for_timeout(100)
    page.get_by_role("switch", name="Baseline").click(force=True)
    expect(page.locator(".page-head .badge", has_text="baseline")).to_be_visible()
    page.get_by_role("button", name="Move to the trash").click()
    expect(page.get_by_role("button", name="Restore from the trash")).to_be_visible()
    page.reload()
    expect(page.get_by_role("textbox", name="Notes")).to_have_value("warm-up too short", timeout=20_000)
    with trackside.open_store(sqlite_url) as store:
        kept = store.run(run)
        assert (kept.name, kept.tags, kept.baseline, kept.notes) == (ODD, ("paper",), True, "warm-up too short")
        assert kept.deleted is not None
    page.get_by_role("button", name="Restore from the trash").click()
    expect(page.get_by_role("button", name="Move to the trash")).to_be_visible()


def test_an_unknown_run_is_a_sentence(dashboard: str, page: Page, train: Train) -> None:
    train("first")
    page.goto(f"{dashboard}/run?id=nobody")
    expect(page.get_by_role("heading", name="No such run")).to_be_visible(timeout=20_000)
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
