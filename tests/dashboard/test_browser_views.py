"""Saved views as a person uses them. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

import trackside
from trackside.db.saved_views import SavedViews

from .test_browser_runs import row, tick
from .test_browser_trash import open_runs

Train = Callable[..., str]
ODD = "<img src=x onerror=alert(1)> & co"


def open_menu(page: Page) -> None:
    if page.locator("details.views").get_attribute("open") is None:
        page.locator("details.views > summary").click()


def save(page: Page, name: str) -> None:
    open_menu(page)
    page.get_by_role("button", name="Save this view …").click()
    page.get_by_role("dialog", name="Save this view").get_by_label("Name").fill(name)
    page.keyboard.press("Enter")


def test_a_view_of_runs_brings_back_filters_columns_and_order(
    serve_store: Callable[[str], AbstractContextManager[str]], page: Page, train_on: Train, store_url: str
) -> None:
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    a = train_on(store_url, "alpha", rate=0.05)
    b = train_on(store_url, "beta", "tensorflow")
    c = train_on(store_url, "alpha two", rate=0.2)
    with serve_store(store_url) as address:
        open_runs(page, f"{address}/?column=config:lr", b)
        tick(page, a)
        page.get_by_role("textbox", name="Search runs").fill("alpha")
        expect(row(page, b)).to_have_count(0)
        heading = page.locator(".ag-header-cell[col-id='config:lr']")
        heading.click()
        heading.click()
        expect(page).to_have_url(re.compile(r"sort=-config:lr"))
        save(page, ODD)
        link = page.get_by_role("link", name=ODD)
        expect(link).to_be_visible()
        with trackside.open_store(store_url) as store:
            (view,) = SavedViews(store).all()
        kept = parse_qs(urlsplit(view.address).query)
        assert kept == {"column": ["config:lr"], "q": ["alpha"], "sort": ["-config:lr"]}  # and no tick
        assert page.locator("#page img").count() == 0
        page.keyboard.press("Escape")
        page.get_by_role("textbox", name="Search runs").fill("bet")
        expect(row(page, a)).to_have_count(0)
        open_menu(page)
        link.click()
        expect(row(page, c)).to_have_attribute("row-index", "0")
        expect(row(page, a)).to_have_attribute("row-index", "1")
        expect(row(page, b)).to_have_count(0)
        expect(page.get_by_role("textbox", name="Search runs")).to_have_value("alpha")
        page.get_by_role("textbox", name="Search runs").fill("")
        expect(row(page, b)).to_be_visible()
        open_menu(page)
        link.click()  # the same again, from a page that moved on
        expect(row(page, b)).to_have_count(0)
        expect(row(page, c)).to_have_attribute("row-index", "0")
        page.reload()
        expect(row(page, c)).to_have_attribute("row-index", "0", timeout=20_000)
        page.goto("about:blank")  # before the server goes, which a page that asks for its rest would report as an error


def test_a_view_of_compare_opens_from_runs(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", "tensorflow")
    page.goto(f"{dashboard}/compare?runs={a},{b}&axis=epoch&smoothing=0.5")
    expect(page.locator(".chip")).to_have_count(2, timeout=20_000)
    save(page, "by epoch")
    expect(page.get_by_role("link", name="by epoch")).to_be_visible()
    page.goto(dashboard)
    expect(row(page, a)).to_be_visible(timeout=20_000)
    open_menu(page)
    entry = page.get_by_role("link", name="by epoch")
    expect(entry).to_contain_text("Compare")
    entry.click()
    expect(page.locator(".chip")).to_have_count(2, timeout=20_000)
    expect(page).to_have_url(re.compile(rf"/compare\?runs={a},{b}&axis=epoch&smoothing=0\.5$"))


def test_views_are_renamed_deleted_and_had_back_and_two_of_a_name_are_refused(
    dashboard: str, page: Page, train: Train, sqlite_url: str
) -> None:
    run = train("one")
    with trackside.open_store(sqlite_url) as store:
        views = SavedViews(store)
        views.save("first", "/?q=one")
        views.save("second", "/?q=two")
        open_runs(page, dashboard, run)
        save(page, "first")
        dialog = page.get_by_role("dialog", name="Save this view")
        expect(dialog.get_by_role("alert")).to_have_text(
            "There is a view “first” already: choose another name, or delete that one first."
        )
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_have_count(0)
        open_menu(page)
        page.get_by_role("button", name="Rename second").click()
        rename = page.get_by_role("dialog", name="Rename view")
        expect(rename.get_by_label("Name")).to_have_value("second")
        rename.get_by_label("Name").fill("third")
        rename.get_by_role("button", name="Save").click()
        expect(page.get_by_role("link", name="third")).to_be_visible()
        assert [view.name for view in views.all()] == ["first", "third"]
        page.get_by_role("button", name="Delete first").click()
        expect(page.get_by_role("link", name="first")).to_have_count(0)
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("link", name="first")).to_be_visible()
        assert [(view.name, view.address) for view in views.all()] == [("first", "/?q=one"), ("third", "/?q=two")]


def test_a_hundred_views_fit_and_what_leads_elsewhere_is_not_shown(
    dashboard: str, page: Page, train: Train, sqlite_url: str
) -> None:
    run = train("one")
    with trackside.open_store(sqlite_url) as store:
        for number in range(100):
            SavedViews(store).save(f"view {number:03}", f"/?q={number}")
        for name, address in (("script", "javascript:alert(1)"), ("away", "//evil.example/")):
            SavedViews(store).save(name, address)  # as somebody else's program might
    open_runs(page, dashboard, run)
    open_menu(page)
    expect(page.locator(".view-entry")).to_have_count(100)
    last = page.get_by_role("link", name="view 099")
    last.scroll_into_view_if_needed()
    last.click()
    expect(page).to_have_url(re.compile(r"\?q=99$"))
    expect(page.get_by_text("No run fits these filters.")).to_be_visible()


def test_the_header_leads_back_to_all_runs(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("alpha"), train("beta")
    open_runs(page, dashboard, a)
    page.get_by_role("textbox", name="Search runs").fill("alpha")
    expect(row(page, b)).to_have_count(0)
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(row(page, b)).to_be_visible()
    expect(page.get_by_role("textbox", name="Search runs")).to_have_value("")
