"""The Runs page as a person uses it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

import trackside
from trackside.dashboard.pages.runs import AT_ONCE
from trackside.db.ingest import Commit
from trackside.db.store import open_store

Train = Callable[..., str]


def row(page: Page, run_id: str):
    """The cells of a run; its pinned checkbox is a row of its own in the DOM."""
    return page.locator(f".ag-center-cols-container [row-id='{run_id}']")


def tick(page: Page, run_id: str) -> None:
    page.locator(f"[row-id='{run_id}'] input[type=checkbox]").first.check()


def test_an_empty_store_says_how_to_begin_and_notices_the_first_run(dashboard: str, page: Page, train: Train) -> None:
    page.goto(dashboard)
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible(timeout=20_000)
    expect(page.locator("pre").first).to_contain_text("LightningTracker()")
    run = train("first")
    expect(row(page, run)).to_contain_text("first", timeout=15_000)


def test_rows_show_what_matters(dashboard: str, page: Page, train: Train) -> None:
    good, bad = train("good"), train("diverged", "tensorflow")
    broken = train("broken", steps=30, error=RuntimeError("out of memory"))
    page.goto(dashboard)
    expect(row(page, good)).to_contain_text("PyTorch", timeout=20_000)
    expect(row(page, good).locator("[col-id=train_last]")).to_have_text("0.5576")
    expect(row(page, good).locator("[col-id=step_seconds]")).to_have_text("10.0 ms")  # the first step left out
    expect(row(page, good).locator("[col-id=progress]")).to_have_text("100 %")
    expect(row(page, bad).locator(".badge.nan")).to_have_attribute("title", "First NaN in train/loss at step 40")
    expect(row(page, bad).locator("[col-id=train_last]")).to_have_text("NaN")
    expect(row(page, broken).locator("[col-id=state]")).to_have_text("failed")
    expect(row(page, broken).locator("[col-id=progress]")).to_have_text("50 %")


def test_two_runs_are_ticked_and_compared_and_the_address_keeps_the_selection(
    dashboard: str, page: Page, train: Train
) -> None:
    a, b = train("one"), train("two", "tensorflow")
    train("three")
    page.goto(dashboard)
    expect(row(page, a)).to_be_visible(timeout=20_000)
    tick(page, a)
    tick(page, b)
    expect(page).to_have_url(re.compile(r"selected=\w+(,|%2C)\w+"))  # both: a reload in between would lose one
    page.reload()
    link = page.get_by_role("link", name="Compare 2 runs")
    expect(link).to_be_visible(timeout=20_000)
    link.click()
    expect(page).to_have_url(re.compile(rf"/compare\?runs=({a},{b}|{b},{a})$"))
    expect(page.locator(".chip")).to_have_count(2, timeout=20_000)
    page.go_back()
    expect(row(page, a)).to_be_visible()


def test_search_and_filters_narrow_the_table_and_survive_a_reload(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("alpha"), train("beta", "tensorflow")
    page.goto(dashboard)
    expect(row(page, a)).to_be_visible(timeout=20_000)
    page.get_by_role("textbox", name="Search runs").fill("bet")
    expect(row(page, a)).to_have_count(0)
    expect(row(page, b)).to_be_visible()
    expect(page).to_have_url(re.compile("q=bet"))
    page.get_by_role("textbox", name="Search runs").fill("")
    expect(row(page, a)).to_be_visible()
    page.get_by_role("textbox", name="Filter by framework").click()
    page.get_by_role("option", name="PyTorch").click()
    expect(row(page, b)).to_have_count(0)
    expect(page).to_have_url(re.compile("framework=torch"))
    page.reload()
    expect(row(page, a)).to_be_visible(timeout=20_000)
    expect(row(page, b)).to_have_count(0)


def test_forms_are_a_column_and_a_filter(dashboard: str, page: Page, train: Train, sqlite_url: str) -> None:
    runs = {}
    for name, mode, precision, devices in (
        ("plain", "eager", "float32", 1),
        ("double", "eager", "float64", 1),
        ("shared", "graph", "float32", 2),
    ):
        properties = {"mode": mode, "precision": precision, "device_count": devices, "framework": "torch"}
        with trackside.start_run(name=name, store=sqlite_url, properties=properties) as run:
            run.log({"train/loss": 1.0}, step=0)
        runs[name] = run.id
    page.set_viewport_size({"width": 2000, "height": 900})  # the grid draws only the columns in sight
    page.goto(dashboard)
    expect(row(page, runs["shared"]).locator("[col-id=form]")).to_have_text(
        "graph · float32 · 2 devices", timeout=20_000
    )
    choice = page.get_by_role("textbox", name="Filter by form")
    choice.click()
    page.get_by_role("option", name="eager", exact=True).click()
    expect(row(page, runs["shared"])).to_have_count(0)
    expect(row(page, runs["double"])).to_be_visible()
    page.get_by_role("option", name="float32", exact=True).click()
    expect(row(page, runs["double"])).to_have_count(0)
    expect(row(page, runs["plain"])).to_be_visible()
    expect(page).to_have_url(re.compile("form=eager"))
    page.reload()
    expect(row(page, runs["plain"])).to_be_visible(timeout=20_000)
    expect(row(page, runs["double"])).to_have_count(0)


def test_added_columns_show_metrics_and_settings_sort_and_stay_in_the_address(
    dashboard: str, page: Page, train: Train
) -> None:
    slow, fast = train("slow", rate=0.05), train("fast", "tensorflow", rate=0.1)
    page.goto(dashboard)
    expect(row(page, slow)).to_be_visible(timeout=20_000)
    tick(page, slow)
    choice = page.get_by_role("textbox", name="Add columns")
    choice.fill("lr")
    page.get_by_role("option", name="lr", exact=True).click()
    expect(row(page, slow).locator("[col-id='config:lr']")).to_have_text("0.05")
    choice.fill("train/loss max")
    page.get_by_role("option", name="train/loss max").click()
    expect(row(page, fast).locator("[col-id='max:train/loss']")).to_have_text("2.100")
    expect(page).to_have_url(re.compile(r"column=config:lr&column=max:train/loss"))
    expect(page.get_by_role("link", name="Open run")).to_be_visible()  # the tick outlives the new columns
    page.keyboard.press("Escape")
    page.locator(".ag-header-cell[col-id='config:lr']").click()
    expect(row(page, slow)).to_have_attribute("row-index", "0")
    page.locator(".ag-header-cell[col-id='config:lr']").click()
    expect(row(page, fast)).to_have_attribute("row-index", "0")
    page.reload()
    expect(row(page, slow).locator("[col-id='config:lr']")).to_have_text("0.05", timeout=20_000)
    expect(row(page, slow).locator("[col-id='max:train/loss']")).to_have_text("2.100")
    expect(page).to_have_url(re.compile(r"column=config:lr&column=max:train/loss"))


def test_an_added_column_moves_with_a_run_that_trains(dashboard: str, page: Page, sqlite_url: str) -> None:
    with trackside.start_run(name="new", config={"optimizer": {"lr": 3e-4}}, store=sqlite_url) as run:
        page.goto(f"{dashboard}/?column=config:optimizer.lr&column=best:val/accuracy&column=odd")
        expect(row(page, run.id).locator("[col-id='config:optimizer.lr']")).to_have_text("0.0003", timeout=20_000)
        expect(row(page, run.id).locator("[col-id='best:val/accuracy']")).to_have_text("–")  # nothing logged yet
        run.log({"val/accuracy": 0.5}, step=0)
        expect(row(page, run.id).locator("[col-id='best:val/accuracy']")).to_have_text("0.5000", timeout=15_000)
        run.log({"val/accuracy": 0.75}, step=1)
        expect(row(page, run.id).locator("[col-id='best:val/accuracy']")).to_have_text("0.7500", timeout=15_000)
    expect(page.locator(".ag-header-cell[col-id='odd']")).to_have_count(0)


def test_a_run_that_trains_appears_and_moves_without_losing_the_selection(
    dashboard: str, page: Page, train: Train, sqlite_url: str
) -> None:
    old = train("old")
    page.goto(dashboard)
    expect(row(page, old)).to_be_visible(timeout=20_000)
    tick(page, old)
    row(page, old).evaluate("node => { node.dataset.witness = 'same node'; }")
    with trackside.start_run(name="new", project="digits", store=sqlite_url) as run:
        run.update(total_steps=40)
        run.log({"train/loss": 1.5}, step=9)
        expect(row(page, run.id).locator("[col-id=progress]")).to_have_text("25 %", timeout=15_000)
        expect(row(page, run.id).locator("[col-id=state]")).to_have_text("running")
        run.log({"train/loss": 0.5}, step=19)
        expect(row(page, run.id).locator("[col-id=progress]")).to_have_text("50 %", timeout=15_000)
    expect(row(page, run.id).locator("[col-id=state]")).to_have_text("finished", timeout=15_000)
    expect(page.locator("[data-witness]")).to_have_count(1)
    expect(page.get_by_role("link", name="Open run")).to_be_visible()


def test_more_runs_than_a_window_shows_follow_its_first_rows_in_order_and_keep_ticks(
    dashboard: str, page: Page, sqlite_url: str
) -> None:
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    count = AT_ONCE + 30
    with open_store(sqlite_url) as store:
        for number in range(count):  # the first is the oldest, and the last row
            when = begun + timedelta(seconds=number)
            created = {"name": f"run {number}", "project": "p", "state": "finished", "created_at": when}
            store.commit(
                Commit(
                    run_id=f"r{number}", run_created=created, journal_id=f"j{number}", rank=0, host="h", process_id=1,
                    position_before=0, position_after=1,
                )
            )  # fmt: skip
        page.goto(f"{dashboard}/?selected=r0,r{count - 1}")
        expect(row(page, f"r{count - 1}")).to_have_attribute("row-index", "0", timeout=20_000)
        expect(page.get_by_role("link", name="Compare 2 runs")).to_be_visible()
        expect(page.locator("#runs-count")).to_have_text(f"{count} runs")
        # The grid knows all of them, in order, once the rest has come.
        order = """async () => { const api = await dash_ag_grid.getApiAsync("runs-grid"), ids = [];
            api.forEachNode((node) => ids.push(node.data.id)); return ids.join() }"""
        wanted = ",".join(f"r{number}" for number in reversed(range(count)))
        for _ in range(100):
            if page.evaluate(order) == wanted:
                break
            page.wait_for_timeout(100)
        assert page.evaluate(order) == wanted
        expect(page.get_by_role("link", name="Compare 2 runs")).to_be_visible()
        expect(page).to_have_url(re.compile(rf"selected=r0,r{count - 1}|selected=r{count - 1},r0"))

        page.locator(".ag-header-cell[col-id=started]").click()  # ascending: the oldest on top
        expect(row(page, "r0")).to_have_attribute("row-index", "0")
        store.rename("r1", "renamed")
        expect(row(page, "r1").locator("[col-id=name]")).to_have_text("renamed", timeout=15_000)
        store.delete("r0")
        expect(row(page, "r1")).to_have_attribute("row-index", "0", timeout=15_000)
        expect(page.locator("#runs-count")).to_have_text(f"{count - 1} runs")
        expect(page.get_by_role("link", name="Open run")).to_be_visible()
        page.get_by_role("textbox", name="Search runs").fill("renamed")
        expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(1)


def test_hostile_names_stay_text(dashboard: str, page: Page, train: Train) -> None:
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    run = train("<img src=x onerror=alert(1)>{{7*7}}")
    page.goto(dashboard)
    expect(row(page, run)).to_contain_text("<img src=x onerror=alert(1)>{{7*7}}", timeout=20_000)
    assert page.locator("#page img").count() == 0


def test_light_and_dark_are_remembered(dashboard: str, page: Page, train: Train) -> None:
    train("one")
    page.goto(dashboard)
    toggle = page.get_by_role("button", name="Switch between light and dark")
    expect(toggle).to_be_visible(timeout=20_000)
    toggle.click()
    html = page.locator("html")
    expect(html).to_have_attribute("data-mantine-color-scheme", "dark")
    page.reload()
    expect(html).to_have_attribute("data-mantine-color-scheme", "dark")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible(timeout=20_000)


def test_keyboard_reaches_search_and_content(dashboard: str, page: Page, train: Train) -> None:
    train("one")
    page.goto(dashboard)
    expect(page.get_by_role("heading", name="Runs")).to_be_visible(timeout=20_000)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    for _ in range(8):  # name, Runs, Claims, keyboard shortcuts, light and dark, then the page: views, trash
        page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="Search runs")).to_be_focused()
