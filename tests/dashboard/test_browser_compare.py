"""The Compare page as a person uses it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

import trackside

from .compare_page import CURVE, Train, panel, parameters


def open_compare(page: Page, dashboard: str, *runs: str, query: str = "") -> None:
    page.goto(f"{dashboard}/compare?runs={','.join(runs)}{query}")
    expect(panel(page, "train/loss").locator(CURVE).first).to_be_attached(timeout=20_000)


def x_ticks(page: Page, metric: str) -> list[float]:
    texts = panel(page, metric).locator(".xtick text").all_text_contents()
    return [float(text.replace("−", "-").replace(",", "")) for text in texts]


def wait_for_ticks(page: Page, metric: str, accepted: Callable[[list[float]], bool]) -> None:
    """Waits until a panel's x axis is as wanted, five seconds at most."""
    for _ in range(50):
        if accepted(x_ticks(page, metric)):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"the x axis of {metric} shows {x_ticks(page, metric)}")


def drag(page: Page, metric: str, start: float, end: float) -> None:
    """Zooms: drags over a share of the panel's width."""
    area = panel(page, metric).locator(".nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=8)
    page.mouse.up()


def test_two_runs_show_verdict_curves_and_timings(dashboard: str, page: Page, train: Train) -> None:
    hosts = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    a, b = train("torch run"), train("keras run", "tensorflow", rate=0.2)
    open_compare(page, dashboard, a, b)
    expect(page.get_by_role("region", name="Parity of the runs")).to_contain_text(re.compile("Not"))
    assert panel(page, "train/loss").locator(CURVE).count() == 2
    expect(panel(page, "val/loss").locator(CURVE).first).to_be_attached()
    expect(page.locator("#summary")).to_contain_text("10 ms")
    expect(page.locator("#step-times")).to_contain_text("500 ms")  # the first step stands apart
    expect(page.locator("#difference")).to_contain_text("step")
    memory = panel(page, "process/memory_bytes")
    expect(memory.locator(".js-plotly-plot")).to_have_count(0)  # far below the window: nothing is drawn there yet
    memory.scroll_into_view_if_needed()
    expect(memory.locator(CURVE).first).to_be_attached()
    expect(page.locator("table.config").first).to_contain_text("lr")
    assert hosts == {urlsplit(dashboard).netloc}


def test_axis_and_log_scale_go_into_the_address_and_back(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b)
    assert parameters(page) == {"runs": [f"{a},{b}"]}
    page.get_by_role("textbox", name="Horizontal axis").click()
    page.get_by_role("option", name="Samples seen").click()
    expect(panel(page, "train/loss").locator(".xtitle")).to_contain_text(re.compile("samples", re.I))
    page.get_by_role("switch", name="Log scale").click(force=True)
    expect(page).to_have_url(re.compile(r"axis=samples.*log=1"))
    page.go_back()
    page.go_back()
    expect(panel(page, "train/loss").locator(".xtitle")).to_contain_text(re.compile("step", re.I))
    expect(page.get_by_role("textbox", name="Horizontal axis")).to_have_value("Step")


def test_the_verdict_is_taken_to_the_base_run_and_the_target_of_the_address(
    dashboard: str, page: Page, train: Train
) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b)
    verdict = page.locator("#verdict")
    expect(verdict.get_by_role("row", name="Step time, median")).to_contain_text("×")
    page.get_by_role("textbox", name="Base run").click()
    page.get_by_role("option", name="two").click()
    expect(page).to_have_url(re.compile(f"base={b}"))
    expect(verdict.get_by_role("columnheader", name="two")).to_contain_text("base")
    page.get_by_role("textbox", name="Target").fill("0.5")
    expect(page).to_have_url(re.compile(r"target=0\.5"))
    expect(verdict).to_contain_text("is as good as 0.5")
    page.reload()
    expect(verdict).to_contain_text("is as good as 0.5", timeout=20_000)
    expect(page.get_by_role("textbox", name="Target")).to_have_value("0.5")
    expect(verdict.get_by_role("columnheader", name="two")).to_contain_text("base")


def test_zoom_is_shared_restored_and_reset(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b)
    drag(page, "train/loss", 0.2, 0.5)
    expect(page).to_have_url(re.compile(r"x=\d"))
    low, high = (float(end) for end in parameters(page)["x"][0].split(","))
    assert 5 < low < 20
    assert 20 < high < 40
    for metric in ("train/loss", "val/loss"):
        wait_for_ticks(page, metric, lambda ticks: low <= min(ticks) and max(ticks) <= high)
    page.reload()
    expect(panel(page, "train/loss").locator(CURVE).first).to_be_attached()
    wait_for_ticks(page, "train/loss", lambda ticks: low <= min(ticks) and max(ticks) <= high)
    page.get_by_role("button", name="Reset zoom").click()
    expect(page).not_to_have_url(re.compile(r"x=\d"))
    wait_for_ticks(page, "train/loss", lambda ticks: min(ticks) < 5 and max(ticks) >= 50)


def test_a_live_run_grows_without_losing_the_zoom(dashboard: str, page: Page, train: Train, sqlite_url: str) -> None:
    other = train("finished")
    with trackside.start_run(name="live", project="digits", store=sqlite_url) as run:
        for step in range(30):
            run.log({"train/loss": 2 - step / 40}, step=step)
        page.wait_for_timeout(2500)  # the writer commits about once a second
        open_compare(page, dashboard, other, run.id)
        page.wait_for_timeout(1000)
        plot = panel(page, "train/loss").locator(".js-plotly-plot")
        plot.evaluate("node => { node.dataset.witness = 'same node'; }")
        length = "path => path.getTotalLength()"
        before = panel(page, "train/loss").locator(CURVE).nth(1).evaluate(length)
        for step in range(30, 60):
            run.log({"train/loss": 2 - step / 40}, step=step)
        expect(page.locator("[data-witness]")).to_have_count(1)
        for _ in range(40):
            page.wait_for_timeout(250)
            after = panel(page, "train/loss").locator(CURVE).nth(1).evaluate(length)
            if after > 1.5 * before:
                break
        assert after > 1.5 * before
        drag(page, "train/loss", 0.3, 0.6)
        expect(page).to_have_url(re.compile(r"x=\d"))
        page.wait_for_timeout(600)
        zoomed = x_ticks(page, "train/loss")
        for step in range(60, 90):
            run.log({"train/loss": 2 - step / 40}, step=step)
        page.wait_for_timeout(5000)
        assert x_ticks(page, "train/loss") == zoomed
        expect(page.locator("[data-witness]")).to_have_count(1)  # patched, not drawn anew


def test_a_run_that_has_just_begun_gets_its_panels_by_itself(dashboard: str, page: Page, sqlite_url: str) -> None:
    with trackside.start_run(name="new", store=sqlite_url) as run:
        page.wait_for_timeout(1500)  # the writer commits about once a second
        page.goto(f"{dashboard}/compare?runs={run.id}")
        expect(page.locator(".no-panels")).to_have_text("None of these runs has logged a metric yet.", timeout=20_000)
        run.log({"train/loss": 0.5}, step=0)
        expect(panel(page, "train/loss").locator(".point").first).to_be_attached(timeout=15_000)
        expect(page.locator(".no-panels")).to_be_hidden()
        run.log({"val/loss": 0.4, "cpu/percent": 30.0}, step=1)
        expect(panel(page, "val/loss").locator(".point").first).to_be_attached(timeout=15_000)
        expect(panel(page, "cpu/percent")).to_have_count(1)
        expect(panel(page, "train/loss").locator(".point").first).to_be_attached()
        assert "metric" not in parameters(page)


def test_curves_that_agree_are_both_seen_and_what_is_missing_is_said(
    dashboard: str, page: Page, train: Train, sqlite_url: str
) -> None:
    a, b = train("torch run"), train("keras run", "tensorflow")
    with trackside.start_run(name="plain", store=sqlite_url) as run:
        run.log({"train/loss": 1.0}, step=0)
    open_compare(page, dashboard, a, b)
    expect(panel(page, "train/loss").locator(".note")).to_have_text("PyTorch and TensorFlow lie on each other.")
    widths = (
        panel(page, "train/loss").locator(CURVE).evaluate_all("all => all.map(p => parseFloat(p.style.strokeWidth))")
    )
    assert widths[0] > widths[1] + 2
    open_compare(page, dashboard, a, run.id)
    expect(panel(page, "val/loss").locator(".note")).to_contain_text("plain logged no val/loss.")


def test_panels_are_chosen(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two")
    open_compare(page, dashboard, a, b, query="&metric=train/loss")
    expect(panel(page, "val/loss")).to_have_count(0)
    page.get_by_role("textbox", name="Metrics").click()
    page.get_by_role("option", name="step/seconds").click()
    expect(panel(page, "step/seconds").locator(CURVE).first).to_be_attached()
    assert parameters(page)["metric"] == ["train/loss", "step/seconds"]
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="Metrics").press("Backspace")
    expect(panel(page, "step/seconds")).to_have_count(0)
    expect(panel(page, "train/loss").locator(CURVE).first).to_be_attached()


def test_every_control_is_reached_by_keyboard_and_shows_it(dashboard: str, page: Page, train: Train) -> None:
    open_compare(page, dashboard, train("one"), train("two"))
    expect(page.locator("#summary table")).to_be_visible()
    reached: list[str] = []
    while "Batch order" not in reached and len(reached) < 30:
        page.keyboard.press("Tab")
        name, ring = page.evaluate(
            """() => {
                const at = document.activeElement;
                return [at.id || at.getAttribute('aria-label') || at.textContent.trim(), getComputedStyle(at).outline];
            }"""
        )
        assert "solid 2px" in ring, f"nothing shows that {name} has the focus"
        reached.append("Batch order" if name.startswith("Batch order") else name)
    order = ["Skip to content", "nav-runs", "axis", "Smoothing", "metrics", "log-y", "Export", "Batch order"]
    assert [name for name in reached if name in order] == order


def test_hostile_names_stay_text(dashboard: str, page: Page, train: Train) -> None:
    name = '<img src=x onerror=alert(1)> <b>bold</b> & "quotes" %{y} 🚀'
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    a = train(name, error=ValueError("<script>alert(2)</script>"))
    b = train("plain")
    open_compare(page, dashboard, a, b)
    expect(page.locator(".chip").first).to_contain_text("<b>bold</b>")
    expect(page.locator("#compare-header")).to_contain_text("<script>alert(2)</script>")
    page.get_by_text("Traceback", exact=True).click()
    expect(page.locator("#compare-header pre")).to_contain_text("ValueError")
    area = panel(page, "train/loss").locator(".nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(panel(page, "train/loss").locator(".hoverlayer")).to_contain_text("<b>bold</b>")
    assert page.locator("#page img, #page b, #page script").count() == 0


def test_nan_is_marked_and_one_run_stands_alone(dashboard: str, page: Page, train: Train) -> None:
    run = train("diverged", "tensorflow")
    open_compare(page, dashboard, run)
    assert panel(page, "train/loss").locator(".xy2 path.point").count() == 20
    expect(page.get_by_role("region", name="Parity of the runs")).to_have_count(0)
    expect(page.locator("#difference")).to_have_count(0)
    expect(page.locator("#summary")).to_contain_text("NaN")


def test_download_gives_the_current_view(dashboard: str, page: Page, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    open_compare(page, dashboard, a, b, query="&x=10,20")
    menu = panel(page, "train/loss").locator("details.menu")
    menu.locator("summary").click()
    with page.expect_download() as download:
        menu.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    steps = {float(line.split(",")[lines[0].split(",").index("x")]) for line in lines[1:]}
    assert steps == {float(step) for step in range(10, 21)}


def test_unknown_runs_get_a_sentence(dashboard: str, page: Page, train: Train) -> None:
    train("one")
    page.goto(f"{dashboard}/compare?runs=nothing-of-the-kind")
    expect(page.locator(".empty")).to_contain_text("nothing-of-the-kind")
    page.get_by_role("link", name="Choose runs").click()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width_does_not_scroll_sideways(dashboard: str, page: Page, train: Train, scheme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_compare(page, dashboard, train("one"), train("two"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.documentElement.dataset.mantineColorScheme") == scheme
