"""The trash of the Runs page as a person uses it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from playwright.sync_api import Page, expect
from werkzeug.test import Client

import trackside
from trackside.dashboard.app import create_app

from .test_browser_runs import row, tick

Train = Callable[..., str]
ODD = "<img src=x onerror=alert(1)>"


def open_runs(page: Page, address: str, run: str) -> None:
    page.goto(address)
    expect(row(page, run)).to_be_visible(timeout=20_000)


def test_runs_go_to_the_trash_and_come_back_by_undo(dashboard: str, page: Page, train: Train, sqlite_url: str) -> None:
    a, b, c = train("one"), train("two"), train("three")
    open_runs(page, dashboard, a)
    expect(page.get_by_role("button", name="Move to the trash")).to_be_disabled()
    tick(page, a)
    tick(page, b)
    page.get_by_role("button", name="Move 2 runs to the trash").click()
    expect(row(page, a)).to_have_count(0)
    expect(row(page, c)).to_be_visible()
    expect(page.get_by_text("2 runs moved to the trash.")).to_be_visible()
    expect(page.locator("#runs-count")).to_have_text("1 run")
    expect(page.get_by_role("button", name="Move to the trash")).to_be_disabled()  # no tick outlives its run
    with trackside.open_store(sqlite_url) as store:
        assert {run.id for run in store.runs(deleted=True)} == {a, b}
    page.get_by_role("button", name="Undo").click()
    expect(row(page, a)).to_be_visible()
    expect(row(page, b)).to_be_visible()
    expect(page.get_by_text("2 runs restored.")).to_be_visible()
    with trackside.open_store(sqlite_url) as store:
        assert store.runs(deleted=True) == []


def test_the_trash_lists_restores_and_purges_and_nothing_goes_without_a_question(
    dashboard: str, page: Page, train: Train, sqlite_url: str
) -> None:
    kept, back, gone, odd = train("kept"), train("back"), train("gone"), train(ODD)
    with trackside.open_store(sqlite_url) as store:
        for run in (back, gone, odd):
            store.delete(run)
    open_runs(page, dashboard, kept)
    page.get_by_role("link", name="Trash").click()
    expect(page.get_by_role("heading", name="Trash")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?trash=1$"))
    expect(page.locator("#trash-count")).to_have_text("3 runs")
    expect(row(page, kept)).to_have_count(0)
    expect(row(page, odd).locator("[col-id=name]")).to_have_text(ODD)
    expect(row(page, odd).locator("[col-id=deleted]")).to_have_text("just now")
    tick(page, back)
    page.get_by_role("button", name="Restore").click()
    expect(row(page, back)).to_have_count(0)
    expect(page.get_by_text("1 run restored.")).to_be_visible()
    page.locator("#trash-grid .ag-header input[type=checkbox]").check()
    page.get_by_role("button", name="Purge …").click()
    dialog = page.get_by_role("dialog", name="Remove 2 runs for good?")
    expect(dialog).to_contain_text(ODD)
    expect(dialog).to_contain_text("This cannot be undone.")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(row(page, gone)).to_be_visible()
    page.get_by_role("button", name="Purge …").click()
    dialog.get_by_role("button", name="Remove 2 runs").click()
    expect(page.get_by_text("2 runs removed for good.")).to_be_visible()
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    with trackside.open_store(sqlite_url) as store:
        assert {run.id for run in store.runs()} == {kept, back}
        assert store.runs(deleted=True) == []
        assert store.series_infos([gone, odd]) == []
    page.go_back()
    expect(row(page, back)).to_be_visible()


def test_a_run_that_trains_is_not_purged_and_the_page_says_why(
    dashboard: str, page: Page, train: Train, sqlite_url: str
) -> None:
    done = train("done")
    with trackside.start_run(name="busy", store=sqlite_url) as run, trackside.open_store(sqlite_url) as store:
        run.log({"train/loss": 1.0}, step=0)
        open_runs(page, dashboard, run.id)
        tick(page, run.id)
        page.get_by_role("button", name="Move 1 run to the trash").click()
        expect(page.get_by_text("1 run still training: points go on arriving.")).to_be_visible()
        store.delete(done)
        page.get_by_role("link", name="Trash").click()
        expect(row(page, run.id).locator("[col-id=state]")).to_have_text("running")
        page.locator("#trash-grid .ag-header input[type=checkbox]").check()
        page.get_by_role("button", name="Purge …").click()
        dialog = page.get_by_role("dialog", name="Remove 1 run for good?")
        expect(dialog).to_contain_text("1 run still training, which cannot be removed: stop the training first")
        dialog.get_by_role("button", name="Remove 1 run").click()
        expect(row(page, done)).to_have_count(0)
        expect(row(page, run.id)).to_be_visible()
        assert store.run(run.id).deleted is not None


def test_ticking_all_takes_only_what_the_filters_show(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("alpha"), train("beta")
    open_runs(page, f"{dashboard}/?q=alp", a)
    page.locator("#runs-grid .ag-header input[type=checkbox]").check()
    page.get_by_role("button", name="Move 1 run to the trash").click()
    expect(row(page, a)).to_have_count(0)
    page.get_by_role("textbox", name="Search runs").fill("")
    expect(row(page, b)).to_be_visible()


def test_the_trash_of_an_empty_store_says_where_the_runs_are(
    serve_store: Callable[[str], AbstractContextManager[str]], page: Page, train_on: Train, postgresql_url: str
) -> None:
    run = train_on(postgresql_url, "only")
    with serve_store(postgresql_url) as address:
        with trackside.open_store(postgresql_url) as store:
            store.delete(run)
        page.goto(address)
        page.get_by_role("link", name="1 run in the trash").click(timeout=20_000)
        tick(page, run)
        page.get_by_role("button", name="Purge …").click()
        page.get_by_role("button", name="Remove 1 run").click()
        expect(page.get_by_text("The trash is empty.")).to_be_visible()


def test_another_site_can_neither_throw_away_nor_purge(sqlite_url: str, train: Train) -> None:
    run = train("mine")
    app = create_app(sqlite_url)
    client: Client = app.server.test_client()
    body = {
        "output": "..runs-said.children...runs-thrown.data...runs-changed.data..",
        "outputs": [
            {"id": "runs-said", "property": "children"},
            {"id": "runs-thrown", "property": "data"},
            {"id": "runs-changed", "property": "data"},
        ],
        "inputs": [{"id": "runs-throw", "property": "n_clicks", "value": 1}],
        "state": [{"id": "runs-selected", "property": "data", "value": [run]}],
        "changedPropIds": ["runs-throw.n_clicks"],
    }
    with trackside.open_store(sqlite_url) as store:
        refused = client.post("/_dash-update-component", json=body, headers={"Origin": "https://evil.example"})
        assert refused.status_code == 403
        assert store.run(run).deleted is None
        accepted = client.post("/_dash-update-component", json=body, headers={"Origin": "http://localhost"})
        assert accepted.status_code == 200
        deleted = store.run(run).deleted
        assert deleted is not None
        assert (datetime.now(UTC) - deleted).total_seconds() < 60
    app.server.extensions["trackside_source"].close()
