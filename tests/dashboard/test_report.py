"""Reports and tables: what stands in them, that names stay names, and that the same view gives the same bytes."""

from __future__ import annotations

import base64
import csv
import io
import re
import subprocess
import sys

import pytest

import trackside
from trackside.dashboard.export import export, figure_view, render
from trackside.dashboard.report import report
from trackside.dashboard.tables import Table, make_table, write_table
from trackside.db.errors import UsageError

ODD = '<script>alert("1")</script> a|b & 50 % of_x 🚂'


@pytest.fixture
def pair(train_on, sqlite_url):
    return train_on(sqlite_url, ODD), train_on(sqlite_url, "other", "tensorflow", rate=0.2)


def test_a_report_stands_alone_and_names_stay_names(pair, sqlite_url):
    with trackside.open_store(sqlite_url) as store:
        page = report(store, pair, title=f"Title {ODD}", text=f"First {ODD}\n\nSecond").decode()
    assert "<script" not in page
    assert "alert(&quot;1&quot;)" in page
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', page)) == {"data:"}
    assert page.count("<figure>") == 5  # loss, val-loss, difference, step-time, memory
    drawings = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    assert all(b"<svg" in base64.b64decode(drawing) for drawing in drawings)
    for heading in ("Runs", "Parity", "Verdict", "Where they part", "Configuration"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count('<p class="own">') == 2


def test_the_same_report_has_the_same_bytes_in_another_process(pair, sqlite_url, tmp_path):
    def by_command(name):
        command = [sys.executable, "-m", "trackside.cli", "report", *pair, "--store", sqlite_url, "-o", name]
        subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
        return (tmp_path / name).read_bytes()

    with trackside.open_store(sqlite_url) as store:
        assert by_command("a.html") == report(store, pair) == by_command("b.html")


def test_a_run_alone_has_a_report_without_comparison(pair, sqlite_url):
    with trackside.open_store(sqlite_url) as store:
        page = report(store, [pair[1]], figures=["loss"]).decode()
    assert "<h2>Parity</h2>" not in page
    assert page.count("<figure>") == 1


def test_what_a_report_cannot_show_is_refused(pair, sqlite_url):
    with trackside.open_store(sqlite_url) as store:
        with pytest.raises(UsageError, match="no figure 'pie'"):
            report(store, pair, figures=["pie"])
        with pytest.raises(UsageError, match="none of those reported"):
            report(store, [pair[0]], base=pair[1])
        with pytest.raises(UsageError, match="at least one"):
            report(store, [])


TABLE = Table(
    caption="A & B",
    headings=("", ODD),
    rows=(("loss_final", "1.5 ×"), ("=SUM(A1)", "2")),
    notes=("50 %",),
    emphasis=frozenset({(0, 1)}),
)


def test_markdown_and_latex_escape_what_they_would_read_as_markup():
    markdown = write_table(TABLE, "md").decode()
    assert "\\<script\\>" in markdown
    assert "a\\|b" in markdown
    assert "**1.5 ×**" in markdown
    assert all(line.count("|") - line.count("\\|") == 3 for line in markdown.splitlines()[:4])
    latex = write_table(TABLE, "tex").decode()
    assert r"50 \% of\_x" in latex
    assert r"\textless{}script\textgreater{}" in latex
    assert r"\textbf{1.5 $\times$}" in latex
    assert r"\caption{A \& B 50 \%}" in latex


def test_csv_holds_no_formula_and_html_no_markup():
    rows = list(csv.reader(io.StringIO(write_table(TABLE, "csv").decode())))
    assert rows == [["", ODD], ["loss_final", "1.5 ×"], ["'=SUM(A1)", "2"]]
    assert "<script" not in write_table(TABLE, "html").decode()
    with pytest.raises(UsageError, match="no table format"):
        write_table(TABLE, "doc")


def test_a_pgfplots_picture_holds_exactly_the_points_drawn(train_on, sqlite_url):
    ids = [train_on(sqlite_url, "diverged"), train_on(sqlite_url, "50 % of_x", "tensorflow")]
    with trackside.open_store(sqlite_url) as store:
        runs = [store.run(one) for one in ids]
        view = figure_view(store, runs, "loss")
        tex = render(view, "tex", runs=runs).decode()
        assert render(view, "tex", runs=runs).decode() == tex
        for curve in view.curves:
            rows = "\n".join(f"{x!r} {y!r}" for x, y in zip(curve.x.tolist(), curve.last.tolist(), strict=True))
            assert rows in tex
        assert tex.count("mark=x]") == 20  # the steps from 40 on
        assert tex.count(r"\addplot") == tex.count(r"\addlegendentry") == 2
        assert "xlabel={Step (optimizer updates)}" in tex
        named = render(figure_view(store, runs, "step-time"), "tex", runs=runs).decode()
        assert r"median 0.01 s" in named
        assert tex.count("{") == tex.count("}")
        assert r"fill between" in render(figure_view(store, runs, "difference"), "tex", runs=runs).decode()


def test_tables_are_exported_beside_figures(pair, sqlite_url, tmp_path):
    with trackside.open_store(sqlite_url) as store:
        written = export(
            store,
            pair,
            figures=["loss"],
            tables=["verdict", "parity", "configuration"],
            formats=["csv", "tex"],
            directory=tmp_path,
        )
        names = [path.name for path in written]
        assert names == [
            "loss.csv", "loss.tex", "verdict.csv", "verdict.tex", "parity.csv", "parity.tex", "configuration.csv",
            "configuration.tex",
        ]  # fmt: skip
        assert "lr & 0.1 & 0.2" in (tmp_path / "configuration.tex").read_text()
        with pytest.raises(UsageError, match="A figure is none of md"):
            export(store, pair, figures=["loss"], tables=["parity"], formats=["md"], directory=tmp_path)
        with pytest.raises(UsageError, match="no format 'pdf'"):
            export(store, pair, figures=[], tables=["parity"], formats=["pdf"], directory=tmp_path)
        with pytest.raises(UsageError, match="none of those exported"):
            export(store, pair[:1], figures=[], tables=["verdict"], formats=["csv"], directory=tmp_path, base=pair[1])
        with pytest.raises(UsageError, match="no table 'pie'"):
            export(store, pair, tables=["pie"], formats=["csv"], directory=tmp_path)
        with pytest.raises(UsageError, match="name at least two"):
            make_table(store, [store.run(pair[0])], "parity")


def test_a_report_says_where_runs_begin_and_which_is_which_in_the_figures(train_on, sqlite_url):
    one, other = train_on(sqlite_url, "first run"), train_on(sqlite_url, "second run", rate=0.2)
    with trackside.open_store(sqlite_url) as store:
        plain = report(store, [one, other]).decode()
        page = report(store, [one, other], starts={other: 20}, target=0.5).decode()
    assert "begins at its step" not in plain
    assert "lr=0.2 begins at its step 20: 20 steps are taken off its x." in page
    assert "<strong>second run</strong> (lr=0.2 in the figures)" in page
    assert "counted from step 20 of second run" in page
    assert "Steps are counted from where each run begins." in page
