"""Code on the Compare and Run pages as a person sees it. The `page` fixture fails a test on any console error."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

import trackside

EVIL = 'print("<img src=x onerror=alert(1)>")'


def log(store: str, script: Path | None, commit: str, diff: str = "") -> str:
    with trackside.start_run(store=store, name="a" if script is None else script.stem, source=script or False) as run:
        run.update(environment={"git": {"commit": commit, "dirty": bool(diff), "diff": diff}})
        for step in range(5):
            run.log({"train/loss": 1.0 / (step + 1)}, step=step)
    return run.id


def test_scripts_and_uncommitted_changes_are_compared(
    dashboard: str, page: Page, sqlite_url: str, tmp_path: Path
) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("import torch\nlr = 0.1\n" + "".join(f"layer_{n}()\n" for n in range(100)))
    other.write_text(f"import torch\nlr = 0.2\n{EVIL}\n" + "".join(f"level_{n}()\n" for n in range(100)))
    ids = log(sqlite_url, one, "a" * 40), log(sqlite_url, other, "a" * 40, "+changed\n")
    page.goto(f"{dashboard}/compare?runs={','.join(ids)}")
    code = page.locator(".code-card")
    expect(code).to_contain_text(
        "The scripts (one.py and other.py) differ: 101 lines removed, 102 added.", timeout=20_000
    )
    expect(code).to_contain_text("Both at commit aaaaaaaaaaaa; the uncommitted changes differ.")
    expect(code.locator("tr.removed", has_text="lr = 0.1")).to_be_visible()
    code.get_by_text("more lines").click()
    expect(code.locator("tr.added", has_text="onerror")).to_have_count(1)
    expect(code.locator("tr.added", has_text="level_99()")).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
    menu = page.get_by_role("link", name="Report, PDF", include_hidden=True)
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        menu.click()
    assert download.value.suggested_filename == "report.pdf"
    assert download.value.path().read_bytes().startswith(b"%PDF")


def test_a_run_shows_its_script_as_text(dashboard: str, page: Page, sqlite_url: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(f"{EVIL}\n")
    run = log(sqlite_url, script, "b" * 40)
    page.goto(f"{dashboard}/run?id={run}")
    page.get_by_text("train.py, 1 lines").click()
    expect(page.locator("pre.script")).to_have_text(EVIL)
    assert page.locator("img[src='x']").count() == 0


def test_runs_without_code_have_no_such_section(dashboard: str, page: Page, sqlite_url: str) -> None:
    ids = []
    for _ in range(2):
        with trackside.start_run(store=sqlite_url, source=False) as run:
            run.log({"train/loss": 1.0}, step=0)
        ids.append(run.id)
    page.goto(f"{dashboard}/compare?runs={','.join(ids)}")
    expect(page.locator("#step-times")).to_contain_text("None of these runs recorded step times", timeout=20_000)
    expect(page.locator(".code-card")).to_have_count(0)
