"""The Claims page as a person uses it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

import trackside
from trackside.runs.claim_records import FINGERPRINT, PROJECT, RUN_NAME, WORKLOAD

SOURCES = [
    {"workload": "<img src=x onerror=alert(1)>", "framework": framework, "lines": lines, "imports": 5, "names": 9}
    for framework, lines in (("torch", 40), ("tensorflow", 30))
]


@pytest.fixture
def keep(sqlite_url: str) -> Callable[..., None]:
    """Records a claim as a session would."""

    def record(number: int, **values: object) -> None:
        with trackside.start_run(name=RUN_NAME, project=PROJECT, workload=WORKLOAD, store=sqlite_url) as session:
            session.fingerprint(f"{FINGERPRINT}{number}", {"form": "quick", "complete": True, **values})

    return record


def card(page: Page, number: int):
    return page.get_by_role("region", name=f"Claim {number}", exact=True)


def test_an_empty_store_says_which_command_to_run_and_fills_by_itself(
    dashboard: str, page: Page, keep: Callable[..., None]
) -> None:
    page.goto(f"{dashboard}/claims")
    expect(page.get_by_role("heading", name="Nothing has been measured yet")).to_be_visible(timeout=20_000)
    expect(page.locator("pre")).to_have_text("trackside claims --quick")
    keep(1, measured={"sources": SOURCES})
    expect(card(page, 1)).to_be_visible(timeout=20_000)


def test_verdicts_come_with_their_protocol_and_evidence(
    dashboard: str, page: Page, keep: Callable[..., None], train: Callable[..., str], sqlite_url: str
) -> None:
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    ids = [train("one"), train("two", "tensorflow")]
    for run_id in ids:
        with trackside.start_run(id=run_id, resume=True, store=sqlite_url) as run:
            run.update(workload="digits-cnn")
    keep(1, measured={"sources": SOURCES}, machine={"cpu": "Made-up CPU", "cpu_count": 2, "load_average": [0.5]})
    keep(10, run_ids=ids, failed=[{"label": "gpt, torch", "reason": "out of memory"}])
    page.goto(dashboard)
    page.get_by_role("link", name="Claims").click()
    expect(page).to_have_url(re.compile("/claims$"))
    overview = page.get_by_role("region", name="All claims")
    expect(overview.get_by_role("row")).to_have_count(12, timeout=20_000)  # a head and eleven claims
    first = card(page, 1)
    expect(first).to_contain_text("supported")
    expect(first).to_contain_text("Protocol: Made-up CPU, 2 cores")
    first.get_by_text("What was measured (6 rows)").click()
    expect(first.get_by_role("cell", name="<img src=x onerror=alert(1)>, PyTorch").first).to_be_visible()
    assert page.locator("#page img").count() == 0
    expect(card(page, 11)).to_contain_text("not measurable")
    tenth = card(page, 10)
    expect(tenth).to_contain_text("out of memory")
    tenth.get_by_role("link", name=re.compile("^Compare ")).first.click()
    expect(page).to_have_url(re.compile(r"/compare\?runs=\w+,\w+$"))
    expect(page.locator(".chip")).to_have_count(2, timeout=20_000)


@pytest.mark.parametrize("width", [420, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(
    dashboard: str, page: Page, keep: Callable[..., None], width: int, scheme: str
) -> None:
    keep(1, measured={"sources": SOURCES})
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{dashboard}/claims")
    expect(card(page, 1)).to_be_visible(timeout=20_000)
    card(page, 1).get_by_text("What was measured").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
