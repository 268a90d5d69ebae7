"""Where runs begin and what they are timed to, as a person sets it on the Compare page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import FloatRect, Locator, Page, expect

import trackside

from .compare_page import Train, open_compare, panel, parameters

LINE = ".target-line:not([hidden])"


def area(page: Page, metric: str) -> FloatRect:
    """Where the curves of a panel are drawn, in pixels of the window."""
    drawn = panel(page, metric).locator(".nsewdrag").first
    drawn.scroll_into_view_if_needed()
    box = drawn.bounding_box()
    assert box is not None
    return box


def click_at(page: Page, metric: str, share: float) -> Locator:
    """Clicks on a panel at a share of its width; returns the menu that opens there."""
    box = area(page, metric)
    page.mouse.move(box["x"] + share * box["width"] - 3, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_timeout(200)  # the box of the values there is drawn a moment later
    page.mouse.down()
    page.mouse.up()
    menu = page.get_by_role("dialog", name=re.compile("^At "))
    expect(menu).to_be_visible()
    return menu


def lines(page: Page, metric: str) -> list[list[float]]:
    """The x of the lines of all curves."""
    graph = panel(page, metric).locator(".js-plotly-plot")
    found: list[list[float]] = graph.evaluate(
        "node => node.calcdata.filter((_, n) => n % 4 === 2).map((points) => points.map(({ x }) => x))"
    )
    return found


def test_a_run_begins_where_its_chip_says_and_the_page_says_so(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b)
    chip = page.locator(".chip").filter(has_text="two")
    chip.locator(".start-menu summary").click()
    field = chip.get_by_label("Begin at step")
    expect(field).to_be_focused()
    expect(field).to_be_in_viewport(ratio=1)
    field.fill("20")
    expect(page).to_have_url(re.compile(f"start={b}:20"))
    expect(chip.locator(".start-shown")).to_have_text("from step 20")
    title = panel(page, "train/loss").locator(".xtitle")
    expect(title).to_contain_text("lr=0.2 from its step 20")
    note = panel(page, "train/loss").locator(".note")
    expect(note).to_contain_text("lr=0.2 begins at its step 20: 20 steps are taken off its x.")
    assert [len(x) for x in lines(page, "train/loss")] == [60, 40]
    assert lines(page, "train/loss")[1][0] == 0
    expect(page.locator("#difference")).to_contain_text("Steps are counted from where each run begins.")
    expect(page.locator("#verdict")).to_contain_text("counted from step 20 of two")
    page.reload()
    expect(title).to_contain_text("lr=0.2 from its step 20", timeout=20_000)
    expect(chip.locator(".start-shown")).to_have_text("from step 20")
    page.go_back()
    expect(title).not_to_contain_text("from its step")
    expect(chip.locator(".start-shown")).to_be_empty()
    assert "start" not in parameters(page)


def test_emptied_the_field_gives_back_the_whole_run(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b, query=f"&start={b}:20&start={a}:10")
    expect(panel(page, "train/loss").locator(".xtitle")).to_contain_text(
        "lr=0.1 from its step 10, lr=0.2 from its step 20"
    )
    chip = page.locator(".chip").filter(has_text="two")
    chip.locator(".start-menu summary").click()
    field = chip.get_by_label("Begin at step")
    expect(field).to_have_value("20")
    field.fill("")
    expect(panel(page, "train/loss").locator(".xtitle")).not_to_contain_text("lr=0.2 from")
    assert parameters(page)["start"] == [f"{a}:10"]


@pytest.mark.parametrize(("axis", "share"), [("step", 20 / 59), ("samples", 20 / 60)])
def test_a_click_on_a_curve_starts_it_there(dashboard: str, page: Page, train: Train, axis: str, share: float) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b, query=f"&axis={axis}")
    menu = click_at(page, "train/loss", share)
    menu.get_by_role("button", name="Start lr=0.2 here").click()
    expect(menu).to_have_count(0)
    expect(page).to_have_url(re.compile(f"start={b}:\\d+"))
    step = int(parameters(page)["start"][0].rpartition(":")[2])
    assert abs(step - 20) <= 2  # the axis begins a little before its first point
    expect(page.locator(".chip").filter(has_text="two").locator(".start-shown")).to_have_text(f"from step {step}")
    expect(panel(page, "train/loss").locator(".xtitle")).to_contain_text(f"lr=0.2 from its step {step}")


def test_the_menu_at_a_point_closes_on_escape_and_sets_the_target(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b)
    expect(page.locator(LINE)).to_be_visible()
    expect(click_at(page, "train/loss", 0.5)).not_to_contain_text("Target")  # they are timed by the validation
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    menu = click_at(page, "val/loss", 0.99)
    menu.get_by_role("button", name=re.compile("^Target")).click()
    expect(page).to_have_url(re.compile(r"target=\d"))
    assert "start" not in parameters(page)


def test_the_target_is_dragged_and_the_table_follows(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b)
    line = panel(page, "val/loss").locator(LINE)
    line.scroll_into_view_if_needed()
    expect(line).to_contain_text("best all reached")
    before = line.locator("span").bounding_box()
    assert before is not None
    x, y = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 60, steps=6)
    expect(line).to_contain_text("target")
    assert "target" not in parameters(page)  # not before it is let go
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"target=\d"))
    value = float(parameters(page)["target"][0])
    low, high = (float(line.get_attribute(f"aria-value{end}") or "nan") for end in ("min", "max"))
    assert low < value < high
    expect(page.locator("#verdict")).to_contain_text(f"is as good as {value:.4g}")
    expect(page.get_by_role("textbox", name="Target")).to_have_value(f"{value:g}")
    after = line.locator("span").bounding_box()
    assert after is not None
    assert abs(after["y"] - (before["y"] - 60)) < 3
    assert "x" not in parameters(page)  # nothing was zoomed
    page.reload()
    expect(panel(page, "val/loss").locator(LINE)).to_contain_text("target", timeout=20_000)


def test_the_target_is_moved_by_keys(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b, query="&target=0.5&log=1")
    line = page.get_by_role("slider", name="Target of val/loss")
    expect(line).to_have_attribute("aria-valuenow", "0.5")
    line.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ArrowUp")
    expect(page).not_to_have_url(re.compile(r"target=0\.5(&|$)"))
    assert float(parameters(page)["target"][0]) > 0.5
    expect(line).to_be_focused()
    page.keyboard.press("Delete")
    expect(page).not_to_have_url(re.compile("target="))
    expect(page.get_by_role("textbox", name="Target")).to_have_value("")
    expect(line).to_contain_text("best all reached")


def test_the_axis_of_tokens_is_offered_where_a_run_says_them(
    dashboard: str, page: Page, train: Train, sqlite_url: str
) -> None:
    a = train("one")
    open_compare(page, dashboard, a)
    page.get_by_role("textbox", name="Horizontal axis").click()
    expect(page.get_by_role("option", name="Samples seen")).to_be_visible()
    expect(page.get_by_role("option", name="Tokens seen")).to_have_count(0)
    with trackside.start_run(name="counted", store=sqlite_url) as run:
        run.update(framework="torch")
        for step in range(60):
            run.log({"train/loss": 1.0}, step=step, tokens=1000 * (step + 1))
    open_compare(page, dashboard, a, run.id)
    page.get_by_role("textbox", name="Horizontal axis").click()
    page.get_by_role("option", name="Tokens seen").click()
    expect(page).to_have_url(re.compile("axis=tokens"))
    expect(panel(page, "train/loss").locator(".xtitle")).to_contain_text("Training tokens seen")
    expect(panel(page, "train/loss").locator(".note")).to_contain_text("one logged no tokens")
    expect(panel(page, "tokens")).to_have_count(0)  # a counter is no curve to look at


def test_a_download_begins_where_the_page_does(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b, query=f"&start={b}:20")
    menu = panel(page, "train/loss").locator("details.menu")
    menu.locator("summary").click()
    with page.expect_download() as download:
        menu.get_by_role("link", name="CSV").click()
    head, *rows = [line.split(",") for line in download.value.path().read_text().splitlines()]
    assert head[-1] == "start"
    mine = [row for row in rows if row[1] == b]
    assert {row[-1] for row in mine} == {"20"}
    assert [float(row[head.index("x")]) for row in mine] == [float(step) for step in range(40)]
    assert {row[-1] for row in rows if row[1] == a} == {""}


def test_training_and_validation_share_a_panel(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b)
    expect(panel(page, "val/loss")).to_have_count(1)
    page.get_by_role("switch", name="Join train and val").click(force=True)
    expect(page).to_have_url(re.compile("splits=1"))
    expect(panel(page, "val/loss")).to_have_count(0)
    expect(panel(page, "train/loss").locator(".note")).to_contain_text("Full: training; dashed: validation.")
    assert len(lines(page, "train/loss")) == 4
    expect(panel(page, "train/loss").locator(LINE)).to_be_visible()  # the target is that of the validation
    page.reload()
    expect(panel(page, "train/loss").locator(".note")).to_contain_text("dashed: validation", timeout=20_000)
    expect(panel(page, "val/loss")).to_have_count(0)
    page.get_by_role("switch", name="Join train and val").click(force=True)
    expect(panel(page, "val/loss")).to_have_count(1)


def test_the_page_says_what_sets_the_runs_apart(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("a run with a long name"), train("another run with a long name", rate=0.2)
    open_compare(page, dashboard, a, b)
    expect(page.locator(".chip").first.locator(".setting")).to_have_text("lr=0.1")
    box = area(page, "train/loss")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(panel(page, "train/loss").locator(".hoverlayer")).to_contain_text("lr=0.2")
    open_compare(page, dashboard, a)
    expect(page.locator(".chip .setting")).to_have_count(0)
