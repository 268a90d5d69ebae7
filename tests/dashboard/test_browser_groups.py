"""Groups of the run table as a person uses them. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

import trackside

from .test_browser_runs import row, tick
from .test_browser_trash import open_runs

Train = Callable[..., str]


def head(page: Page, key: str) -> Locator:
    """The cells of a group's own row."""
    return page.locator(f".ag-center-cols-container [row-id='group:{key}']")


def order(page: Page) -> list[str]:
    """Ids of the rows from top to bottom."""
    rows = page.locator(".ag-center-cols-container .ag-row").evaluate_all(
        "rows => rows.map((row) => [Number(row.getAttribute('row-index')), row.getAttribute('row-id')])"
    )
    return [row_id for _, row_id in sorted(rows)]


def group_by(page: Page, name: str) -> None:
    page.get_by_role("textbox", name="Group by").click()
    page.get_by_role("option", name=name, exact=True).click()


def expect_order(page: Page, wanted: list[str]) -> None:
    """The table has these rows and no others, from top to bottom."""
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(len(wanted))
    for place, row_id in enumerate(wanted):
        found = page.locator(f".ag-center-cols-container [row-id='{row_id}']")
        expect(found).to_have_attribute("row-index", str(place))
    assert order(page) == wanted


def test_rows_are_grouped_counted_folded_sorted_and_filtered(dashboard: str, page: Page, train: Train) -> None:
    a = train("alpha", rate=0.05)
    b = train("beta", "tensorflow", rate=0.1)
    c = train("gamma", rate=0.2)
    open_runs(page, dashboard, a)
    group_by(page, "Framework")
    expect(page).to_have_url(re.compile("by=framework"))
    expect(head(page, "torch")).to_contain_text("PyTorch")
    expect(head(page, "torch")).to_contain_text("2 runs")
    expect_order(page, ["group:torch", c, a, "group:tensorflow", b])  # the newest first, as without groups
    expect(head(page, "torch").locator("[col-id=train_last] b")).to_have_text("0.2047")
    expect(head(page, "torch").locator("[col-id=train_last] .soft")).to_have_text("0.6306")
    # Sorting sorts within the groups, and the groups by their first run.
    page.locator(".ag-header-cell[col-id=train_last]").click()
    expect_order(page, ["group:torch", c, a, "group:tensorflow", b])
    page.locator(".ag-header-cell[col-id=train_last]").click()
    expect_order(page, ["group:torch", a, c, "group:tensorflow", b])
    page.locator(".ag-header-cell[col-id=name]").click()
    expect_order(page, ["group:torch", a, c, "group:tensorflow", b])
    page.locator(".ag-header-cell[col-id=name]").click()
    expect_order(page, ["group:torch", c, a, "group:tensorflow", b])
    # A folded group keeps its row, and its ticks.
    tick(page, a)
    head(page, "torch").get_by_role("button", name="PyTorch", exact=True).click()
    expect_order(page, ["group:torch", "group:tensorflow", b])
    expect(page).to_have_url(re.compile("folded=torch"))
    expect(page.get_by_role("link", name="Open run")).to_be_visible()
    page.reload()
    expect(head(page, "torch")).to_contain_text("2 runs", timeout=20_000)
    expect_order(page, ["group:torch", "group:tensorflow", b])
    expect(page.get_by_role("link", name="Open run")).to_be_visible()
    # Filters count, and a group without runs goes.
    page.get_by_role("textbox", name="Search runs").fill("gam")
    expect_order(page, ["group:torch"])
    expect(head(page, "torch")).to_contain_text("1 run")
    page.get_by_role("textbox", name="Search runs").fill("")
    expect_order(page, ["group:torch", "group:tensorflow", b])
    page.get_by_role("button", name="Fold all").click()
    expect_order(page, ["group:torch", "group:tensorflow"])
    page.get_by_role("button", name="Unfold all").click()
    expect_order(page, ["group:torch", c, a, "group:tensorflow", b])


def test_a_whole_group_is_ticked_and_compared(dashboard: str, page: Page, train: Train) -> None:
    a, b, c = train("a"), train("b", "tensorflow"), train("c")
    open_runs(page, f"{dashboard}/?by=framework", b)
    expect(page.locator("[row-id='group:torch'] input[type=checkbox]")).to_be_hidden()  # a group is no run
    head(page, "torch").get_by_role("button", name="Tick all runs of PyTorch").click()
    link = page.get_by_role("link", name="Compare 2 runs")
    expect(link).to_have_attribute("href", re.compile(rf"runs=({a},{c}|{c},{a})$"))
    page.locator("#runs-grid .ag-header input[type=checkbox]").check()
    expect(page.get_by_role("link", name="Compare 3 runs")).to_be_visible()
    head(page, "torch").get_by_role("button", name="Untick all runs of PyTorch").click()
    expect(page.get_by_role("link", name="Open run")).to_be_visible()


def test_a_setting_groups_while_it_is_a_column(dashboard: str, page: Page, train: Train) -> None:
    slow, fast, other = train("slow", rate=0.05), train("fast", rate=0.1), train("other", rate=0.1)
    open_runs(page, f"{dashboard}/?by=config:lr", slow)
    expect(row(page, slow).locator("[col-id='config:lr']")).to_have_text("0.05")
    expect(head(page, "0.1")).to_contain_text("lr = 0.1")
    expect_order(page, ["group:0.1", other, fast, "group:0.05", slow])
    expect(page.get_by_role("textbox", name="Group by")).to_have_value("lr")
    expect(head(page, "0.1").locator("[col-id=project]")).to_have_text("digits")  # shared by all
    expect(head(page, "0.1").locator("[col-id='config:lr']")).to_have_text("0.1")
    page.locator(".columns .mantine-Pill-remove").click(force=True)
    expect_order(page, [other, fast, slow])
    expect(page).not_to_have_url(re.compile("by="))
    expect(page.get_by_role("textbox", name="Group by")).to_have_value("")


def test_a_run_that_trains_joins_its_group_and_moves_to_another(
    dashboard: str, page: Page, train: Train, sqlite_url: str
) -> None:
    old = train("old")
    open_runs(page, f"{dashboard}/?by=state", old)
    expect(head(page, "finished")).to_contain_text("1 run")
    with trackside.start_run(name="new", project="digits", store=sqlite_url) as run:
        run.log({"train/loss": 0.25}, step=0)
        expect(head(page, "running")).to_contain_text("1 run, 1 running", timeout=15_000)
        expect(head(page, "running").locator("[col-id=train_last] b")).to_have_text("0.2500", timeout=15_000)
        run.log({"train/loss": 0.125}, step=1)
        expect(head(page, "running").locator("[col-id=train_last] b")).to_have_text("0.1250", timeout=15_000)
    expect(head(page, "running")).to_have_count(0, timeout=15_000)
    expect(head(page, "finished")).to_contain_text("2 runs")
    expect_order(page, ["group:finished", run.id, old])


def test_hostile_values_are_only_the_name_of_a_group(dashboard: str, page: Page, sqlite_url: str) -> None:
    odd = "<img src=x onerror=alert(1)>"
    with trackside.start_run(name="one", project=odd, store=sqlite_url) as run:
        run.log({"train/loss": 1.0}, step=0)
    open_runs(page, f"{dashboard}/?by=project&folded=nobody", run.id)
    expect(page.locator(".group-name")).to_have_text(odd)
    assert page.locator("#page img").count() == 0


def test_what_cannot_be_grouped_by_is_no_group(dashboard: str, page: Page, train: Train) -> None:
    run = train("one")
    open_runs(page, f"{dashboard}/?by=notes", run)
    expect_order(page, [run])
    expect(page).not_to_have_url(re.compile("by="))
