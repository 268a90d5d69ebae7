"""The Profile page as a person uses it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from trackside.db.store import Store
from trackside.runs.traces import reading

Runs = Callable[..., str]

PATIENCE = 20_000
DRAWN = re.compile(r"[1-9]\d*")


def open_profile(page: Page, dashboard: str, *runs: str, query: str = "") -> None:
    page.goto(f"{dashboard}/profile?runs={','.join(runs)}{query}")
    expect(page.get_by_role("region", name="Operator families").locator("tbody tr").first).to_be_visible(
        timeout=PATIENCE
    )


def parameters(page: Page) -> dict[str, str]:
    return {key: values[-1] for key, values in parse_qs(urlsplit(page.url).query).items()}


def grid_rows(page: Page):
    return page.locator("#operators-grid .ag-center-cols-container .ag-row")


def names(page: Page):
    return page.locator("#operators-grid .operator-name")


def test_two_runs_add_up_side_by_side(dashboard: str, page: Page, profiled: Runs) -> None:
    hosts = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    a, b = profiled("torch run"), profiled("keras run", "tensorflow", scale=0.5)
    open_profile(page, dashboard, a, b)
    expect(page.locator(".verdict")).to_contain_text(re.compile("Not"))  # said before any number
    wall = page.get_by_role("region", name="Wall clock of a step")
    expect(wall.get_by_role("row", name="Whole step")).to_contain_text("10.00 ms")
    expect(wall.get_by_role("row", name="Whole step")).to_contain_text("5.00 ms")
    expect(wall.get_by_role("row", name="Forward")).to_contain_text("0.5×")
    widths = wall.locator(".wall").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")
    assert 1.9 < widths[0] / widths[1] < 2.1
    for bar in range(2):
        pieces = wall.locator(".wall").nth(bar).locator(".piece")
        grown = pieces.evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
        assert abs(sum(grown) - widths[bar]) < 2
    families = page.get_by_role("region", name="Operator families")
    expect(families.get_by_role("row", name="Convolution, backward")).to_contain_text("2.800 ms")
    expect(page.locator("#timeline")).to_have_attribute("data-drawn", DRAWN, timeout=PATIENCE)
    assert hosts == {urlsplit(dashboard).netloc}


def test_a_family_narrows_the_table_by_keyboard_and_the_address_goes_back(
    dashboard: str, page: Page, profiled: Runs
) -> None:
    open_profile(page, dashboard, profiled("one"), profiled("two", scale=2.0))
    expect(names(page).filter(has_text="aten::_foreach_add_")).to_have_count(1)
    family = page.get_by_role("button", name="Convolution, backward").first
    family.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("family=convolution/backward"))
    expect(names(page)).to_have_text(["aten::convolution_backward"])
    expect(page.get_by_role("button", name="Convolution, backward").first).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="By layer").click()
    expect(names(page)).to_have_text(["no layer"])
    expect(page).to_have_url(re.compile("by=layer"))
    page.go_back()
    page.go_back()
    expect(names(page).filter(has_text="aten::_foreach_add_")).to_have_count(1)
    assert set(parameters(page)) == {"runs"}


def test_search_and_order_of_the_table_are_in_the_address(dashboard: str, page: Page, profiled: Runs) -> None:
    a, b = profiled("one"), profiled("two", scale=2.0)
    open_profile(page, dashboard, a, b)
    expect(names(page).first).to_be_visible()
    page.locator("#operators-grid .ag-header-cell[col-id='calls0']").click()
    expect(page).to_have_url(re.compile("sort=calls0:desc"))
    page.get_by_role("textbox", name="Search operators").fill("foreach")
    expect(names(page)).to_have_text(["aten::_foreach_add_"])
    expect(page).to_have_url(re.compile("q=foreach"))
    page.reload()
    expect(names(page)).to_have_text(["aten::_foreach_add_"], timeout=PATIENCE)
    expect(page.get_by_role("textbox", name="Search operators")).to_have_value("foreach")
    expect(page.locator("#operators-grid [col-id='calls0'][aria-sort='descending']")).to_have_count(1)


def test_the_timeline_zooms_by_hand_and_keyboard_and_changes_its_step(
    dashboard: str, page: Page, profiled: Runs
) -> None:
    open_profile(page, dashboard, profiled("one"), profiled("many", operators=4000))
    timeline = page.locator("#timeline")
    expect(page.locator(".timeline-said")).to_contain_text("shorter ones are hidden", timeout=PATIENCE)
    canvas = timeline.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.10 * box["width"], box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.14 * box["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"x=[\d.]+,[\d.]+"))
    expect(page.locator(".timeline-said")).not_to_contain_text("hidden", timeout=PATIENCE)  # full detail was fetched
    low, high = (float(end) for end in parameters(page)["x"].split(","))
    assert 0.5 < low < high < 2.0  # milliseconds
    canvas.focus()
    page.keyboard.press("ArrowRight")
    expect(timeline).not_to_have_attribute("data-begin", re.compile(rf"^{low:.3f}"))
    page.keyboard.press("0")
    expect(timeline).to_have_attribute("data-begin", "0")
    expect(page).not_to_have_url(re.compile("x="))
    page.get_by_role("textbox", name="Recorded step").click()
    page.get_by_role("option", name="Step 12 · 10 ms / 10 ms").click()
    expect(timeline).to_have_attribute("data-step", "2")
    expect(page).to_have_url(re.compile("step=2"))
    page.go_back()
    expect(timeline).to_have_attribute("data-step", "0")
    expect(page.get_by_role("textbox", name="Recorded step")).to_have_value("Step 10 · 10 ms / 10 ms")


def test_runs_without_a_trace_or_with_a_broken_one_say_so(
    dashboard: str, page: Page, profiled: Runs, train: Runs
) -> None:
    plain = train("plain")
    page.goto(f"{dashboard}/profile?runs={plain}")
    expect(page.get_by_text("LightningTracker(profile=True)")).to_be_visible(timeout=PATIENCE)
    broken = profiled("broken", raw=b'{"traceEvents": [{"ph": "X", ')
    page.goto(f"{dashboard}/profile?runs={broken}")
    expect(page.locator(".notice")).to_contain_text("ends in the middle", timeout=PATIENCE)
    good = profiled("good")
    open_profile(page, dashboard, good, plain, broken)
    expect(page.get_by_text("plain recorded no trace")).to_be_visible()
    expect(page.locator(".wall")).to_have_count(1)
    expect(page.get_by_role("columnheader", name="Ratio")).to_have_count(0)  # alone there is nothing to compare with


def test_a_trace_that_takes_long_is_waited_for_without_hanging_the_page(
    dashboard: str, page: Page, profiled: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed, go = reading.analysed, threading.Event()

    def slowly(store: Store, run: str, read: Any) -> list[reading.Analysed]:
        go.wait(20)
        return analysed(store, run, read)

    monkeypatch.setattr(reading, "analysed", slowly)
    page.goto(f"{dashboard}/profile?runs={profiled('one')}")
    expect(page.get_by_text("Reading the trace of one")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Claims").click()  # everything else goes on
    expect(page.get_by_role("heading", name="Claims", exact=True)).to_be_visible(timeout=PATIENCE)
    page.go_back()
    expect(page.get_by_text("Reading the trace of one")).to_be_visible(timeout=PATIENCE)
    go.set()
    expect(page.locator(".wall")).to_have_count(1, timeout=PATIENCE)
    expect(names(page).first).to_be_visible(timeout=PATIENCE)


def test_compare_leads_to_the_profile_and_back(dashboard: str, page: Page, profiled: Runs, train: Runs) -> None:
    a, b = profiled("one"), profiled("two")
    page.goto(f"{dashboard}/compare?runs={a},{b}")
    page.get_by_role("link", name="Profile").click()
    expect(page.get_by_role("heading", name="Profile", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(names(page).first).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("region", name="Curves of train/loss")).to_be_visible(timeout=PATIENCE)
    page.goto(f"{dashboard}/compare?runs={train('plain')}")
    expect(page.get_by_role("region", name="Curves of train/loss")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("link", name="Profile")).to_have_count(0)


def test_perfetto_is_handed_both_traces(dashboard: str, page: Page, profiled: Runs) -> None:
    """A stand-in for ui.perfetto.dev that answers as the real one does; nothing leaves this machine."""
    script = """<title>waiting</title><script>addEventListener('message', (event) => {
        if (event.data === 'PING') return event.source.postMessage('PONG', event.origin);
        document.title = event.data.perfetto.buffer.byteLength + ' ' + event.data.perfetto.fileName;
    })</script>"""

    def answer(route: Route) -> None:
        route.fulfill(body=script, content_type="text/html")

    page.context.route("https://ui.perfetto.dev/**", answer)
    open_profile(page, dashboard, profiled("one"), profiled("two"))
    page.get_by_text("Traces", exact=True).click()
    with page.expect_popup() as opened:
        page.get_by_role("button", name="Open in Perfetto").click()
    expect(opened.value).to_have_title(re.compile(r"\d{3,} .*json"), timeout=PATIENCE)
    expect(page.locator("#perfetto-said")).to_have_text("Opened in Perfetto.")


def test_traces_are_downloaded_as_recorded_and_merged(dashboard: str, page: Page, profiled: Runs) -> None:
    a, b = profiled("one"), profiled("two")
    open_profile(page, dashboard, a, b)
    page.get_by_text("Traces", exact=True).click()
    with page.expect_download() as raw:
        page.get_by_role("link", name="Trace of one, as recorded").click()
    assert raw.value.suggested_filename == "one.pt.trace.json"
    page.get_by_text("Traces", exact=True).click()
    with page.expect_download() as merged:
        page.get_by_role("link", name="as one Chrome trace").click()
    events = json.loads(gzip.decompress(merged.value.path().read_bytes()))["traceEvents"]
    assert len({event["pid"] for event in events}) == 2
