"""The Debug page as a person uses it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

import trackside
from trackside.runs.debugging.records import DebugRecord, Source

HOSTILE = "<img src=x onerror=alert(1)>"
LAYERS = {
    "torch": (("net.conv", "Conv2d"), ("net.fc", "Linear")),
    "tensorflow": (("conv", "Conv2D"), (HOSTILE, "Dense")),
}


@pytest.fixture
def broken(sqlite_url: str) -> Callable[[str], str]:
    """Logs a training whose second layer and loss are NaN from step 40 on, with the record of it."""

    def run(framework: str) -> str:
        with trackside.start_run(name=f"broken-{framework}", store=sqlite_url) as tracked:
            described = [{"name": n, "class": c, "parameters": 10 + i} for i, (n, c) in enumerate(LAYERS[framework])]
            tracked.update(framework=framework, model={"layers": described})
            for step in range(60):
                values = {"train/loss": math.nan if step >= 40 else 2.0 - step / 50}
                for place, (name, _) in enumerate(LAYERS[framework]):
                    values[f"layers/{name}/gradient_norm"] = math.nan if step >= 40 and place else 0.5 + step / 100
                    values[f"layers/{name}/zero_fraction"] = 0.25
                tracked.log(values, step=step)
            record = DebugRecord(
                quantity="activation",
                layer=LAYERS[framework][1][0],
                layer_class=LAYERS[framework][1][1],
                source=Source(file="/me/train.py", line=7, function="forward", code=((6, "h = x"), (7, HOSTILE))),
                last_losses=((38, 1.24), (39, 1.22), (40, math.nan)),
                how="search",
                exact=True,
            )
            tracked.event("non_finite", f"The output of {HOSTILE} is not finite.", step=40, detail=record.to_json())
            tracked.event("dead_layer", "net.conv gives nothing but zeros.", step=10, detail=DebugRecord().to_json())
        return tracked.id

    return run


def test_from_the_run_table_and_from_a_mark_on_a_curve_to_the_record(
    dashboard: str, page: Page, broken: Callable[[str], str], train: Callable[..., str]
) -> None:
    bad, failed = broken("torch"), train("broke", steps=5, error=RuntimeError("out of memory"))
    page.goto(dashboard)
    row = page.locator(f".ag-center-cols-container [row-id='{failed}']")
    expect(row.locator("a.state.failed")).to_have_attribute("href", f"/debug?runs={failed}", timeout=20_000)
    page.locator(f".ag-center-cols-container [row-id='{bad}']").get_by_role("link", name="NaN").click()
    expect(page).to_have_url(re.compile(rf"/debug\?runs={bad}$"))
    record = page.locator("details.record.non_finite")
    expect(record).to_contain_text("net.fc", timeout=20_000)
    page.goto(f"{dashboard}/compare?runs={bad}&metric=train/loss")
    mark = page.locator("#panels .js-plotly-plot .scatterlayer .point[transform]").last
    expect(mark).to_be_visible(timeout=20_000)
    box = mark.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#panels .hoverlayer")).to_contain_text("click for its record")
    page.mouse.down()
    page.mouse.up()
    expect(page).to_have_url(re.compile(rf"/debug\?runs={bad}&record={bad}:\d+$"))
    expect(page.locator("details.record.named")).to_contain_text("is not finite", timeout=20_000)


def test_records_layers_and_the_parting_of_two_runs(dashboard: str, page: Page, broken: Callable[[str], str]) -> None:
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    one, other = broken("torch"), broken("tensorflow")
    page.goto(f"{dashboard}/debug?runs={one},{other}")
    records = page.get_by_role("region", name="Records", exact=True)
    expect(records.locator("details.record")).to_have_count(4, timeout=20_000)
    expect(records.locator(".line.culprit").first).to_contain_text(HOSTILE)
    expect(page.get_by_role("region", name="Where two runs part")).to_contain_text("do not part", timeout=20_000)
    # A mark on the axis opens what it stands for, and the address says which.
    dead = records.locator("details.record.dead_layer").first
    expect(dead).not_to_have_attribute("open", "")
    page.get_by_role("link", name="Dead layer, step 10").first.click()
    expect(page).to_have_url(re.compile(rf"record={one}:10$"))
    expect(dead).to_have_attribute("open", "")
    # A heatmap is read with keys, and every run answers for the same cell.
    layers = page.get_by_role("region", name="Layers over the steps")
    picture = layers.get_by_role("application").first
    expect(picture).to_be_visible(timeout=20_000)
    picture.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    readouts = layers.locator(".heat-readout")
    expect(readouts.nth(0)).to_have_text("net.fc, step 1: 0.51")
    expect(readouts.nth(1)).to_have_text(f"{HOSTILE}, step 1: 0.51")
    layers.get_by_role("link", name="Share of zeros").click()
    expect(page).to_have_url(re.compile("statistic=zero_fraction"))
    expect(layers.get_by_role("application").first).to_have_attribute("aria-label", re.compile("^Share of zeros"))
    page.go_back()
    expect(layers.get_by_role("application").first).to_have_attribute("aria-label", re.compile("^Gradient norm"))
    assert page.locator("#page img:not([alt^='Gradient norm'])").count() == 0


def test_healthy_runs_are_told_what_debug_would_add(dashboard: str, page: Page, train: Callable[..., str]) -> None:
    page.goto(f"{dashboard}/debug?runs={train('one')},{train('two', 'tensorflow')}")
    expect(page.get_by_role("heading", name="Nothing went wrong in these runs")).to_be_visible(timeout=20_000)
    expect(page.locator("#debug-records pre")).to_contain_text("LightningTracker(debug=True)")
    expect(page.locator("#debug-layers")).to_contain_text("None of these runs measured its layers", timeout=20_000)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1024, "light")])
def test_nothing_is_wider_than_the_window(
    dashboard: str, page: Page, broken: Callable[[str], str], width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{dashboard}/debug?runs={broken('torch')},{broken('tensorflow')}")
    expect(page.get_by_role("application").first).to_be_visible(timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
