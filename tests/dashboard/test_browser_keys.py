"""Runs and Compare by keyboard. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from .compare_page import Train, open_compare, panel


def test_keys_go_from_panel_to_panel_and_stop_at_the_ends(dashboard: str, page: Page, train: Train) -> None:
    open_compare(page, dashboard, train("one"), query="&metric=train/loss&metric=val/loss")
    expect(panel(page, "process/memory_bytes")).to_have_count(1)
    for key, metric in [
        ("j", "train/loss"),
        ("j", "val/loss"),
        ("j", "process/memory_bytes"),
        ("j", "process/memory_bytes"),
        ("k", "val/loss"),
        ("k", "train/loss"),
        ("k", "train/loss"),
    ]:
        page.keyboard.press(key)
        expect(panel(page, metric)).to_be_focused()
        expect(panel(page, metric)).to_be_in_viewport(ratio=0.9)


def test_s_turns_smoothing_on_and_off_as_it_was(dashboard: str, page: Page, train: Train) -> None:
    open_compare(page, dashboard, train("one"), query="&smoothing=0.3")
    page.keyboard.press("s")
    expect(page).not_to_have_url(re.compile("smoothing"))
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile(r"smoothing=0\.3"))
    expect(page.get_by_role("slider", name="Smoothing")).to_have_attribute("aria-valuenow", "0.3")


def test_keys_are_letters_while_someone_types(dashboard: str, page: Page, train: Train) -> None:
    open_compare(page, dashboard, train("one"))
    page.keyboard.press("/")
    find = page.get_by_role("textbox", name="Find a metric")
    expect(find).to_be_focused()
    expect(find).to_have_value("")
    page.keyboard.type("s/j?k")
    expect(find).to_have_value("s/j?k")
    expect(find).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile("find="))
    assert "smoothing" not in page.url


def test_help_lists_the_keys_holds_the_focus_and_closes_on_escape(dashboard: str, page: Page, train: Train) -> None:
    train("one")
    page.goto(dashboard)
    expect(page.locator(".runs-grid .ag-row").first).to_be_visible(timeout=20_000)
    button = page.get_by_role("button", name="Keyboard shortcuts")
    button.focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    assert dialog.locator("kbd").all_text_contents() == ["/", "j", "k", "s", "?", "Esc"]
    for _ in range(5):
        page.keyboard.press("Tab")
        inside = "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        assert page.evaluate(inside)
    page.keyboard.press("/")
    expect(page.get_by_role("textbox", name="Search runs")).not_to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    button.click()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    page.locator(".ag-row .ag-selection-checkbox input").first.check()
    page.keyboard.press("/")
    expect(page.get_by_role("textbox", name="Search runs")).to_be_focused()
