"""The report as a PDF: what stands in it, that it stands alone, and that the same runs give the same bytes."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import zlib

import pytest

import trackside
from trackside.dashboard.downloads import download_file
from trackside.dashboard.report import report
from trackside.db.errors import UsageError

ODD = '<b>bold?</b> <script>alert("1")</script> & a|b 实验 🚂 \\(x'
MISSING = b"FFFD"  # the replacement character, in a font's table of what its codes mean


@pytest.fixture
def pair(train_on, sqlite_url):
    return train_on(sqlite_url, ODD), train_on(sqlite_url, "other", "tensorflow", rate=0.2)


def streams(pdf: bytes) -> list[bytes]:
    """Content of every stream."""
    found = re.findall(rb"/Filter \[ ([^\]]*)\] /Length (\d+)[^\n]*\n>>\nstream\r?\n", pdf)
    contents, at = [], 0
    for filters, length in found:
        at = pdf.index(b"stream", pdf.index(b"/Length " + length, at)) + len(b"stream")
        at += 2 if pdf[at : at + 2] == b"\r\n" else 1
        body = pdf[at : at + int(length)]
        contents.append(zlib.decompress(base64.a85decode(b"<~" + body, adobe=True) if b"ASCII85" in filters else body))
    return contents


def shown(pdf: bytes) -> str:
    """All text of the pages in the order written, without spaces: how a line was broken does not matter."""
    strings = [
        string
        for stream in streams(pdf)
        for string in re.findall(rb"\(((?:\\.|[^\\()])*)\)\s*Tj", stream)
        if b" Tf " in stream
    ]
    text = b"".join(strings).decode("latin-1")
    text = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), text)
    return re.sub(r"\\(.)", r"\1", text).replace(" ", "")


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


def test_a_pdf_says_what_the_page_says_and_names_stay_names(pair, sqlite_url):
    with trackside.open_store(sqlite_url) as store:
        pdf = report(store, pair, format="pdf", title=f"Title {ODD}", text=f"First {ODD}\n\nSecond\nline")
    assert pdf.startswith(b"%PDF-")
    text = shown(pdf)
    for words in ("Runs", "Parity", "Verdict", "Figures", "Wheretheypart", "Configuration", "Second", "line", "other"):
        assert words in text
    assert "<b>bold?</b><script>alert" in text
    assert pair[0] in text
    assert "Trainingloss" in text  # an axis of a figure
    assert "learningrate" not in text
    assert "Madewithtrackside." in text
    assert any(MISSING in stream for stream in streams(pdf)), "what no font has must leave a mark"


def test_a_pdf_stands_alone(pair, sqlite_url):
    with trackside.open_store(sqlite_url) as store:
        pdf = report(store, pair, format="pdf")
    fonts = set(re.findall(rb"/BaseFont /([A-Za-z0-9+-]+)", pdf))
    assert fonts
    assert all(re.match(rb"[A-Z]{6}\+DejaVu", font) for font in fonts), fonts
    assert pdf.count(b"/FontFile2") >= len(fonts)
    assert b"/Subtype /Image" not in pdf
    assert b"/URI" not in pdf
    assert set(re.findall(rb"D:(\d{4})", pdf)) <= {b"2000"}


def test_the_same_pdf_has_the_same_bytes_in_another_process(pair, sqlite_url, tmp_path):
    def by_command(name):
        command = [sys.executable, "-m", "trackside.cli", "report", *pair, "--store", sqlite_url, "-o", name]
        subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
        return (tmp_path / name).read_bytes()

    with trackside.open_store(sqlite_url) as store:
        once, again = (report(store, pair, format="pdf") for _ in range(2))
        link = download_file(store, "report-pdf", f"?runs={','.join(pair)}")
    assert once == again == by_command("a.pdf") == by_command("b.PDF")
    assert link == ("report.pdf", once, "application/pdf")


def test_a_run_alone_has_a_pdf_without_comparison(pair, sqlite_url):
    with trackside.open_store(sqlite_url) as store:
        text = shown(report(store, [pair[1]], format="pdf", figures=["loss"]))
    assert "Parity" not in text
    assert "Summary" in text


def test_many_runs_and_a_long_configuration_break_over_pages(sqlite_url):
    runs = []
    for number in range(50):
        config = {"seed": number, "notes": f"{number} " + "word " * 300, "key": "x" * 1500}
        if number == 0:
            config |= {f"setting_{place}": place for place in range(400)}
        with trackside.start_run(name=f"run-{number}", config=config, store=sqlite_url) as run:
            for step in range(3):
                run.log({"train/loss": 1.0 / (step + 1 + number)}, step=step)
        runs.append(run.id)
    with trackside.open_store(sqlite_url) as store:
        pdf = report(store, runs, format="pdf")
    text = shown(pdf)
    assert pages(pdf) > 20
    assert all(f"setting_{place}" in text for place in range(400))
    assert "Runs46to50of50" in text
    assert all(f"run-{number}" in text for number in range(50))


def test_what_cannot_be_written_is_refused(pair, sqlite_url, tmp_path, monkeypatch):
    with trackside.open_store(sqlite_url) as store:
        with pytest.raises(UsageError, match="no report as 'doc'"):
            report(store, pair, format="doc")
        monkeypatch.setitem(sys.modules, "reportlab", None)
        for name in [name for name in sys.modules if re.match(r"trackside\.dashboard\.(pdf_|report_pdf)", name)]:
            monkeypatch.delitem(sys.modules, name)
        for name in [name for name in sys.modules if name.startswith("reportlab.")]:
            monkeypatch.delitem(sys.modules, name)
        with pytest.raises(UsageError, match=r"needs reportlab: run pip install 'trackside\[export\]'"):
            report(store, pair, format="pdf")
