"""Finding panels of the Compare page. The `page` fixture fails a test on any console error."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

from .compare_page import CURVE, Train, open_compare, panel, parameters


def open_with_search(page: Page, dashboard: str, *runs: str, query: str = "") -> Locator:
    """Opens the page and returns the field that finds panels."""
    open_compare(page, dashboard, *runs, query=query)
    return page.get_by_role("textbox", name="Find a metric")


def test_panels_are_found_by_an_expression_that_the_address_keeps(dashboard: str, page: Page, train: Train) -> None:
    find = open_with_search(page, dashboard, train("one"), train("two"), query="&metric=train/loss")
    find.fill("^VAL|bytes$")
    expect(panel(page, "val/loss").locator(CURVE).first).to_be_attached()  # was not among the chosen ones
    expect(panel(page, "train/loss")).to_have_count(0)
    expect(panel(page, "process/memory_bytes")).to_be_visible()
    expect(page.locator("#found")).to_have_text("2 of 4 metrics")
    assert parameters(page)["find"] == ["^VAL|bytes$"]
    page.reload()
    expect(panel(page, "val/loss").locator(CURVE).first).to_be_attached(timeout=20_000)
    expect(panel(page, "train/loss")).to_have_count(0)
    expect(find).to_have_value("^VAL|bytes$")
    find.fill("loss")
    expect(panel(page, "process/memory_bytes")).to_be_hidden()
    expect(panel(page, "train/loss").locator(CURVE).first).to_be_attached()
    find.fill("")
    expect(panel(page, "val/loss")).to_have_count(0)  # back to what was chosen
    expect(panel(page, "train/loss").locator(CURVE).first).to_be_attached()
    expect(panel(page, "process/memory_bytes")).to_be_visible()
    expect(page.locator("#found")).to_be_empty()
    assert parameters(page)["metric"] == ["train/loss"]
    assert "find" not in parameters(page)


def test_a_bad_expression_gets_a_sentence_and_changes_no_panel(dashboard: str, page: Page, train: Train) -> None:
    find = open_with_search(page, dashboard, train("one"), query="&metric=train/loss")
    find.fill("loss(")
    expect(page.get_by_text("This is not a complete regular expression")).to_be_visible()
    expect(panel(page, "train/loss").locator(CURVE).first).to_be_attached()
    expect(panel(page, "val/loss")).to_have_count(0)
    find.fill("nothing like it")
    expect(page.get_by_text("This is not a complete regular expression")).to_have_count(0)
    expect(page.locator("#found")).to_have_text("None of 4 metrics matches.")
    expect(page.locator(".no-panels")).to_be_hidden()
    expect(panel(page, "train/loss")).to_have_count(0)


def test_a_download_of_the_page_has_the_panels_that_were_found(dashboard: str, page: Page, train: Train) -> None:
    find = open_with_search(page, dashboard, train("one"))
    find.fill("^val/")
    expect(panel(page, "train/loss")).to_have_count(0)
    page.get_by_label("Export", exact=True).click()
    link = page.get_by_role("link", name="All data, CSV")
    link.hover()
    asked = parse_qs(urlsplit(link.get_attribute("href") or "").query)
    assert asked["metric"] == ["val/loss"]
    assert "find" not in asked
