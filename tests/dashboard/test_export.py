"""Printed figures and their data: what the files hold, and that the same view gives the same bytes."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import trackside
from trackside.dashboard.export import FIGURES, FORMATS, export, figure_view, render
from trackside.dashboard.figure_data import drawn_difference
from trackside.db.errors import RunNotFoundError, SeriesNotFoundError, TracksideError, UsageError
from trackside.db.store import Store
from trackside.runs.views import (
    Curve,
    CurvesView,
    DifferenceView,
    StepTimesView,
    curves_view,
    difference_view,
    step_times_view,
)

STEPS = 120
PARTS_AT = 40
HOSTILE = '=cmd|"/C calc"!A0 <b>$x_1$ \\frac{1}{2} 实验 🚀 _'


def log_run(url: str, name: str, framework: str | None, shift: float, **loss_at: float) -> str:
    """A short training with everything a tracker logs; `loss_at` replaces the loss of single steps (`s12=…`)."""
    with trackside.start_run(name=name, store=url, config={"lr": 0.1}) as run:
        run.update(framework=framework, precision="float32")
        for metric, unit in (
            ("step/seconds", "seconds"),
            ("process/memory_bytes", "bytes"),
            ("cpu/percent", "percent"),
        ):
            run.describe(metric, unit=unit, reduction="batch" if metric.startswith("step") else "sample")
        for step in range(STEPS):
            loss = loss_at.get(f"s{step}", 2.0 * math.exp(-step / 30) + (shift if step >= PARTS_AT else 0.0))
            run.log(
                {
                    "train/loss": loss,
                    "step/seconds": 1.5 if step == 0 else 0.010 + 0.0001 * (step % 20),
                    "step/data_seconds": 0.002,
                    "step/compute_seconds": 0.009,
                    "optimizer/learning_rate": 0.1,
                    "process/memory_bytes": 3.0 * 2**30,
                    "cpu/percent": 55.0,
                    "gpu0/utilization_percent": 90.0,
                    "gpu1/utilization_percent": 80.0,
                },
                step=step,
                epoch=step // 60,
                samples=32 * (step + 1),
            )
        run.log({"val/acc": 0.9}, step=STEPS - 1)
    return run.id


@pytest.fixture(scope="module", autouse=True)
def _font_list() -> None:
    """Matplotlib lists the machine's fonts once, and says so where that takes long: not in the middle of a test."""
    import matplotlib.font_manager  # noqa: F401


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the runs that all tests read."""
    url = f"sqlite:///{tmp_path_factory.mktemp('export') / 'runs.db'}"
    log_run(url, "digits-torch", "torch", 0.0)
    log_run(url, "digits-keras", "tensorflow", 0.5)
    log_run(url, HOSTILE, None, 0.0, s50=math.nan, s51=math.nan, s60=math.inf, s70=-math.inf, s80=-0.25)
    with trackside.start_run(name="empty", store=url):
        pass
    return url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with trackside.open_store(url) as store:
        yield store


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))


def svg_texts(content: bytes) -> list[str]:
    """Every text in the figure; fails on what is not well-formed XML."""
    return [
        "".join(node.itertext()) for node in ElementTree.fromstring(content).iter("{http://www.w3.org/2000/svg}text")
    ]


def curve(values: list[float], label: str = "run", **changes: object) -> Curve:
    """A curve of single points at x = 0, 1, 2, …"""
    y = np.asarray(values, np.float64)
    x = np.arange(len(y), dtype=np.float64)
    finite = np.isfinite(y)
    made = Curve(
        run_id=label, label=label, framework=None, metric="train/loss", rank=0, reduction="batch", unit=None,
        x=x[finite], minimum=y[finite], maximum=y[finite], last=y[finite], smoothed=None, nan_x=x[np.isnan(y)],
        positive_infinity_x=x[y == np.inf], negative_infinity_x=x[y == -np.inf], point_count=len(y), exact=True,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def view_of(*curves: Curve, unit: str | None = None, y_label: str = "Training loss") -> CurvesView:
    longest = max((curve.point_count for curve in curves), default=0)
    return CurvesView(
        metric="train/loss", axis="step", x_label="Step (optimizer updates)", y_label=y_label, unit=unit, curves=curves,
        x_range=(0.0, longest - 1.0) if longest else None, missing=(),
    )  # fmt: skip


# ---- Files -----------------------------------------------------------------------------------------------------------


def test_writes_every_figure_in_every_format(store: Store, tmp_path: Path) -> None:
    files = export(
        store,
        ["digits-torch", "digits-keras"],
        figures=("loss", "step-time", "difference", "val/acc"),
        formats=FORMATS,
        directory=tmp_path / "new" / "figures",
    )
    expected = [f"{stem}.{kind}" for stem in ("loss", "step-time", "difference", "val-acc") for kind in FORMATS]
    assert [file.name for file in files] == expected
    assert sorted(file.name for file in (tmp_path / "new" / "figures").iterdir()) == sorted(expected)
    starts = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG", "csv": b"run", "tex": b"% needs"}
    for file in files:
        assert file.read_bytes().startswith(starts[file.suffix[1:]])


@pytest.mark.parametrize("figure", [name for name in FIGURES if name not in ("val-loss", "throughput")])
def test_every_named_figure_is_built_and_drawn(store: Store, figure: str) -> None:
    view = figure_view(store, [store.run("digits-torch"), store.run("digits-keras")], figure)
    assert b"</svg>" in render(view, "svg")
    assert len(rows(render(view, "csv"))) > 1


def test_several_gpus_share_a_panel_under_labels_that_say_which(store: Store) -> None:
    view = figure_view(store, [store.run("digits-torch"), store.run("digits-keras")], "gpu")
    assert isinstance(view, CurvesView)
    assert view.y_label.startswith("GPU utilization")
    assert [curve.label for curve in view.curves] == [
        "PyTorch, GPU 0", "TensorFlow, GPU 0", "PyTorch, GPU 1", "TensorFlow, GPU 1",
    ]  # fmt: skip


def test_two_metrics_of_one_file_name_do_not_overwrite_each_other(sqlite_url: str, tmp_path: Path) -> None:
    with trackside.start_run(name="one", store=sqlite_url) as run:
        run.log({"a/b": 1.0, "a b": 2.0, "../../escape": 3.0}, step=0)
    with trackside.open_store(sqlite_url) as store:
        files = export(
            store,
            ["one"],
            figures=("a/b", "a b", "../../escape"),
            formats=("csv",),
            directory=tmp_path / "out",
        )
    assert [file.name for file in files] == ["a-b.csv", "a-b-2.csv", "escape.csv"]
    assert [rows(file.read_bytes())[0]["last"] for file in files] == ["1.0", "2.0", "3.0"]
    assert {file.parent for file in files} == {tmp_path / "out"}


def test_a_run_named_twice_is_drawn_once(store: Store, tmp_path: Path) -> None:
    (file,) = export(store, ["digits-torch", "digits-torch"], figures=("loss",), formats=("csv",), directory=tmp_path)
    assert len(rows(file.read_bytes())) == STEPS


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"figures": ("los",)}, SeriesNotFoundError, "loss"),
        ({"figures": ("val-loss",)}, SeriesNotFoundError, "train/loss"),
        ({"figures": ("val/f1",)}, SeriesNotFoundError, "val/acc"),
        ({"figures": ()}, UsageError, "figure"),
        ({"formats": ("docx",)}, UsageError, "pdf, svg, png, csv"),
        ({"width": "huge"}, UsageError, "single, double, slide"),
        ({"dpi": 5}, UsageError, "300"),
        ({"axis": "sideways"}, UsageError, "epoch"),
        ({"smoothing": 1.0}, UsageError, "below 1"),
        ({"x_range": (5.0, 1.0)}, UsageError, "smaller first"),
        ({"x_range": (1e6, 2e6)}, UsageError, "another axis or range"),
        ({"references": ["nobody"]}, RunNotFoundError, "nobody"),
        ({"references": []}, UsageError, "run"),
        ({"references": ["empty"]}, SeriesNotFoundError, "logged"),
        ({"figures": ("difference",)}, UsageError, "exactly two"),
        (
            {"figures": ("difference",), "references": ["digits-torch", "digits-keras", HOSTILE]},
            UsageError,
            "exactly two",
        ),
    ],
)
def test_refuses_with_one_sentence_and_writes_nothing(
    store: Store, tmp_path: Path, options: dict[str, object], error: type[TracksideError], says: str
) -> None:
    given: dict[str, object] = {"references": ["digits-torch"], "figures": ("loss",), **options}
    with pytest.raises(error, match=re.escape(says)) as raised:
        export(store, directory=tmp_path / "out", **given)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_good_figure_is_not_written_where_a_later_one_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SeriesNotFoundError):
        export(store, ["digits-torch"], figures=("loss", "val-loss"), directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_directory_that_is_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="choose another directory"):
        export(store, ["digits-torch"], formats=("csv",), directory=tmp_path / "taken")
    with pytest.raises(UsageError, match="choose another directory"):
        export(store, ["digits-torch"], formats=("csv",), directory=tmp_path / "taken" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_refuses_a_directory_it_may_not_write(store: Store, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="choose another directory"):
        export(store, ["digits-torch"], formats=("csv",), directory=tmp_path)
    tmp_path.chmod(0o700)


def test_a_full_disk_keeps_the_old_file_whole_and_leaves_no_rest(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "loss.csv"
    old.write_text("old")
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TracksideError, match="No space left on device") as raised:
        export(store, ["digits-torch"], figures=("loss",), formats=("csv",), directory=tmp_path)
    assert raised.value.exit_code == 1
    assert [file.name for file in tmp_path.iterdir()] == ["loss.csv"]
    assert old.read_text() == "old"


# ---- CSV -------------------------------------------------------------------------------------------------------------


def test_csv_of_curves_holds_exactly_the_points_of_the_view(store: Store) -> None:
    view = curves_view(store, ["digits-torch", HOSTILE], "train/loss", smoothing=0.9)
    table = rows(render(view, "csv"))
    assert list(table[0]) == [
        "run", "run_id", "metric", "axis", "x", "minimum", "maximum", "last", "smoothed", "kind", "noise",
    ]  # fmt: skip
    for drawn in view.curves:
        own = [row for row in table if row["run_id"] == drawn.run_id]
        assert {(row["metric"], row["axis"]) for row in own} == {("train/loss", "step")}
        points = [row for row in own if row["kind"] == "point"]
        assert drawn.smoothed is not None
        for column, values in (
            ("x", drawn.x),
            ("minimum", drawn.minimum),
            ("maximum", drawn.maximum),
            ("last", drawn.last),
            ("smoothed", drawn.smoothed),
        ):
            assert [float(row[column]) for row in points] == values.tolist()
        for kind, positions in (
            ("nan", drawn.nan_x),
            ("+inf", drawn.positive_infinity_x),
            ("-inf", drawn.negative_infinity_x),
        ):
            assert [float(row["x"]) for row in own if row["kind"] == kind] == positions.tolist()
        assert [float(row["x"]) for row in own] == sorted(float(row["x"]) for row in own)
    hostile = [row for row in table if row["kind"] not in ("point",)]
    assert [(row["x"], row["kind"], row["last"]) for row in hostile] == [
        ("50.0", "nan", ""), ("51.0", "nan", ""), ("60.0", "+inf", ""), ("70.0", "-inf", ""),
    ]  # fmt: skip


def test_csv_numbers_read_back_as_the_same_float64() -> None:
    values = [0.1 + 0.2, 1 / 3, 5e-324, sys.float_info.max, -0.0, 2.0**53 + 2]
    table = rows(render(view_of(curve(values)), "csv"))
    assert [struct.pack("<d", float(row["last"])) for row in table] == [struct.pack("<d", value) for value in values]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1+1", "＝1+1"])
def test_csv_names_are_no_formulas(name: str) -> None:
    view = view_of(curve([1.0], label=name, metric=name))
    (row,) = rows(render(view, "csv"))
    for column in ("run", "run_id", "metric"):
        assert row[column] == f"'{name}"


def test_csv_quotes_what_would_break_a_row() -> None:
    name = 'a,"b"\r\n;c'
    (row,) = rows(render(view_of(curve([1.0], label=name)), "csv"))
    assert row["run"] == name


def test_csv_of_step_times_is_the_histogram_and_the_statistics(store: Store) -> None:
    view = step_times_view(store, ["digits-torch", "digits-keras"])
    table = rows(render(view, "csv"))
    for row in view.rows:
        own = [entry for entry in table if entry["run_id"] == row.run_id]
        bins = [entry for entry in own if entry["kind"] == "count"]
        assert [int(entry["value"]) for entry in bins] == row.counts.tolist()
        assert [float(entry["lower_seconds"]) for entry in bins] == view.edges[:-1].tolist()
        assert [float(entry["upper_seconds"]) for entry in bins] == view.edges[1:].tolist()
        statistics = {entry["kind"]: float(entry["value"]) for entry in own if entry["kind"] != "count"}
        assert statistics["median"] == row.median
        assert statistics["p95"] == row.p95
        assert statistics["p99"] == row.p99
        assert statistics["first"] == 1.5
        assert statistics["data_median"] == 0.002
        assert statistics["compute_median"] == 0.009


def test_csv_of_a_difference_holds_it_with_its_tolerance(store: Store) -> None:
    view = difference_view(store, "digits-torch", "digits-keras", "train/loss")
    table = rows(render(view, "csv", runs=[store.run("digits-torch"), store.run("digits-keras")]))
    assert [float(row["x"]) for row in table] == view.x.tolist()
    assert [float(row["last"]) for row in table] == view.difference.tolist()
    assert [float(row["tolerance"]) for row in table] == view.tolerance.tolist()
    assert {row["run"] for row in table} == {"PyTorch − TensorFlow"}


def test_a_difference_of_a_million_steps_keeps_its_extremes_and_stays_small() -> None:
    x = np.arange(1e6)
    difference = np.sin(x / 1e5)
    difference[123_456], difference[654_321], difference[5] = 9.0, -9.0, math.nan
    view = DifferenceView(
        a="a", b="b", metric="train/loss", axis="step", x=x, difference=difference, tolerance=x * 1e-7,
        parted_at=300_000, reason="",
    )  # fmt: skip
    drawn = drawn_difference(view)
    assert (drawn.curve.minimum.min(), drawn.curve.maximum.max()) == (-9.0, 9.0)
    assert drawn.curve.nan_x.tolist() == [5.0]
    assert drawn.tolerance.tolist() == (drawn.curve.x * 1e-7).tolist()
    assert len(render(view, "pdf")) < 200_000


# ---- What the figures say --------------------------------------------------------------------------------------------


def test_svg_has_axis_labels_with_units_and_a_legend_as_text(store: Store) -> None:
    runs = [store.run("digits-torch"), store.run("digits-keras")]
    texts = svg_texts(render(curves_view(store, runs, "train/loss"), "svg", runs=runs))
    assert {"Training loss", "Step (optimizer updates)", "PyTorch", "TensorFlow"} <= set(texts)
    texts = svg_texts(render(curves_view(store, runs, "process/memory_bytes"), "svg"))
    assert "Process memory (GiB)" in texts
    texts = svg_texts(render(step_times_view(store, runs), "svg"))
    assert {
        "Step time (milliseconds)",
        "Share of steps (%)",
        "waiting for data",
        "computing",
        "p95",
        "p99",
    } <= set(texts)
    assert any(text.startswith("median 1") for text in texts)


def test_a_difference_says_where_the_runs_part(store: Store) -> None:
    runs = [store.run("digits-torch"), store.run("digits-keras")]
    view = difference_view(store, runs[0], runs[1], "train/loss")
    assert view.parted_at == PARTS_AT
    texts = svg_texts(render(view, "svg", runs=runs))
    assert {
        "PyTorch − TensorFlow",
        "tolerance",
        f"apart from step {PARTS_AT}",
        "Difference in training loss",
    } <= set(texts)


def test_marks_band_and_ghost_have_a_legend_entry_only_where_they_are_drawn() -> None:
    plain = curve([1.0, 2.0, 3.0])
    extras = {"NaN", "+∞", "−∞", "min–max", "raw"}
    assert extras.isdisjoint(svg_texts(render(view_of(plain), "svg")))
    full = replace(
        curve([1.0, math.nan, 2.0, math.inf, 3.0, -math.inf]), exact=False, smoothed=np.array([1.0, 1.5, 2.0])
    )
    assert extras <= set(svg_texts(render(view_of(full), "svg")))


def test_a_run_that_begins_late_is_named_under_the_axis_of_every_drawing(store: Store, tmp_path: Path) -> None:
    references = ["digits-torch", "digits-keras"]
    runs = [store.run(one) for one in references]
    begun = {runs[1].id: 30}
    for figure in ("loss", "difference"):
        view = figure_view(store, runs, figure, starts=begun)
        assert "TensorFlow from its step 30" in svg_texts(render(view, "svg", runs=runs))
        assert r"\footnotesize TensorFlow from its step 30" in render(view, "tex", runs=runs).decode()
        plain = figure_view(store, runs, figure)
        assert not any("from its step" in text for text in svg_texts(render(plain, "svg", runs=runs)))
    first, other = (
        [
            path.read_bytes()
            for path in export(
                store, references, figures=["loss"], formats=["csv", "svg"], directory=tmp_path / name, starts=[start]
            )
        ]
        for name, start in (("by-name", "digits-keras:30"), ("by-id", f"{runs[1].id}:30"))
    )
    assert first == other
    head, *rows = csv.reader(io.StringIO(first[0].decode()))
    assert head[-1] == "start"
    assert [row[-1] for row in rows] == [""] * STEPS + ["30"] * (STEPS - 30)
    assert float(rows[STEPS][head.index("x")]) == 0.0


def test_a_target_is_a_line_in_the_figure_of_its_metric_alone(store: Store) -> None:
    runs = [store.run("digits-torch"), store.run("digits-keras")]
    view = figure_view(store, runs, "loss", target=0.5)
    assert "target 0.5" in svg_texts(render(view, "svg", runs=runs))
    assert "target 0.5" in svg_texts(render(view, "svg", runs=runs, log_y=True))
    assert "axis cs:0,0.5" in render(view, "tex", runs=runs).decode()
    assert "target 0.5" not in svg_texts(render(figure_view(store, runs, "cpu", target=0.5), "svg", runs=runs))
    assert "target 0.5" not in svg_texts(render(figure_view(store, runs, "loss"), "svg", runs=runs))
    assert render(view, "csv", runs=runs) == render(figure_view(store, runs, "loss"), "csv", runs=runs)


def test_a_legend_names_what_differs(sqlite_url: str) -> None:
    for name, rate in (("a run with a long name", 0.1), ("another run with a long name", 0.01)):
        with trackside.start_run(name=name, store=sqlite_url, config={"lr": rate, "batch_size": 32}) as run:
            for step in range(5):
                run.log({"train/loss": 1.0, "step/seconds": 0.1}, step=step)
    with trackside.open_store(sqlite_url) as opened:
        runs = opened.runs()
        for figure in ("loss", "step-time"):
            texts = svg_texts(render(figure_view(opened, runs, figure), "svg", runs=runs))
            assert {"lr=0.1", "lr=0.01"} <= set(texts)
        texts = svg_texts(render(figure_view(opened, runs, "difference"), "svg", runs=runs))
        assert "lr=0.01 − lr=0.1" in texts or "lr=0.1 − lr=0.01" in texts


def test_splits_share_a_figure_with_a_dash_each(sqlite_url: str) -> None:
    for name in ("one", "two"):
        with trackside.start_run(name=name, store=sqlite_url) as run:
            for step in range(5):
                run.log({"train/loss": 1.0 + step, "val/loss": 2.0 + step}, step=step)
    with trackside.open_store(sqlite_url) as opened:
        runs = opened.runs()
        for figure in ("loss", "val/loss"):
            view = figure_view(opened, runs, figure, splits=True)
            texts = svg_texts(render(view, "svg", runs=runs))
            assert {"one", "two", "training", "validation", "Loss"} <= set(texts)
        tex = render(view, "tex", runs=runs).decode()
        assert [tex.count(f", {dash}, thick") for dash in ("solid", "dashed")] == [2, 2]
        assert "one, validation" in tex
        assert {row["metric"] for row in rows(render(view, "csv", runs=runs))} == {"train/loss", "val/loss"}
        assert "validation" not in svg_texts(render(figure_view(opened, runs, "loss"), "svg", runs=runs))


def test_a_logarithmic_axis_leaves_out_what_is_not_positive_and_says_so() -> None:
    view = view_of(curve([1.0, 0.0, -5.0, 100.0]))
    texts = svg_texts(render(view, "svg", log_y=True))
    assert "2 of 4 points ≤ 0 not shown" in texts
    assert {"1", "10", "100"} <= set(texts)
    assert not any("not shown" in text for text in svg_texts(render(view, "svg")))
    assert not any("not shown" in text for text in svg_texts(render(view_of(curve([1.0, 2.0])), "svg", log_y=True)))


@pytest.mark.parametrize(
    ("values", "tick"),
    [
        ([2e6, 5e6], "Training loss (×10⁶)"),
        ([1e-7, 9e-7], "Training loss (×10⁻⁷)"),
        ([1e308, -1e308], "Training loss (×10³⁰⁸)"),
    ],
)
def test_large_and_tiny_values_stand_under_a_common_power_of_ten(values: list[float], tick: str) -> None:
    assert tick in svg_texts(render(view_of(curve(values)), "svg"))


def test_curves_differ_without_their_colours() -> None:
    view = view_of(*(curve([1.0 + k, 2.0 + k], label=f"run {k}") for k in range(8)))
    root = ElementTree.fromstring(render(view, "svg"))
    lines = [node.get("style", "") for node in root.iter("{http://www.w3.org/2000/svg}path") if node.get("clip-path")]
    curves = [style for style in lines if "stroke: #e4e6ea" not in style]
    assert len({re.search(r"stroke: (#\w+)", style)[1] for style in curves}) == 8  # type: ignore[index]
    dashes = [(re.search(r"stroke-dasharray: ([\d., ]+)", style) or [""])[0] for style in curves]
    assert len(set(dashes)) == 4


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        [], [1.0], [math.nan], [math.inf, -math.inf], [0.0] * 5, [-1.0, -2.0], [sys.float_info.max] * 2,
        [sys.float_info.max, -sys.float_info.max], [5e-324, 1e-310], [1.0, 1.0 + 1e-12], [math.nan, 1.0] * 40,
    ],
)  # fmt: skip
def test_no_value_breaks_a_figure(values: list[float], log_y: bool) -> None:
    # Warnings are errors here, so an overflow inside Matplotlib would show.
    assert svg_texts(render(view_of(curve(values)), "svg", log_y=log_y))


@pytest.mark.parametrize("format", ["pdf", "svg"])
@pytest.mark.parametrize(
    "name", [HOSTILE, "", " ", "_", "$", "$$", "a\nb\x00\x1b", "\ud800", "x" * 500, "عربي עברית", "👩‍🚀"]
)
def test_no_name_breaks_a_figure_or_warns(name: str, format: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = render(view_of(curve([1.0, 2.0], label=name)), format, title=name, dpi=50)
    if format == "svg":
        ElementTree.fromstring(content)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_names_are_shown_as_they_are() -> None:
    texts = svg_texts(render(view_of(curve([1.0], label="_a <b>$x_1$ \\alpha")), "svg", title="T&T $1"))
    assert "_a <b>$x_1$ \\alpha" in texts
    assert "T&T $1" in texts


# ---- Bytes -----------------------------------------------------------------------------------------------------------

RENDER = """
import sys, hashlib, trackside
from trackside.dashboard.export import figure_view, render
with trackside.open_store(sys.argv[1]) as store:
    runs = [store.run("digits-torch"), store.run("digits-keras")]
    for figure in ("loss", "step-time", "difference"):
        view = figure_view(store, runs, figure)
        for format in ("pdf", "svg", "png", "csv"):
            print(figure, format, hashlib.sha256(render(view, format, runs=runs)).hexdigest())
heavy = {"dash", "plotly", "torch", "tensorflow", "pandas", "matplotlib.pyplot"} & set(sys.modules)
print("imported", sorted(heavy))
"""


def render_elsewhere(url: str, **environment: str) -> str:
    """Digests of some figures as a process of its own draws them."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RENDER, url],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_same_view_gives_the_same_bytes_in_every_process(url: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\nsvg.fonttype: path\n")
    first = render_elsewhere(url, PYTHONHASHSEED="1", TZ="UTC")
    # Another hash seed and time zone, and somebody's own Matplotlib settings, change nothing.
    second = render_elsewhere(url, PYTHONHASHSEED="2", TZ="Asia/Tokyo", MATPLOTLIBRC=str(tmp_path))
    assert first == second
    assert len(first.splitlines()) == 13
    assert "imported []" in first


def test_without_matplotlib_data_is_exported_and_a_figure_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert render(view_of(curve([1.0])), "csv").startswith(b"run,")
    with pytest.raises(UsageError, match=re.escape("pip install 'trackside[export]'")):
        render(view_of(curve([1.0])), "pdf")


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_view_gives_the_same_bytes_twice(store: Store, format: str) -> None:
    runs = [store.run("digits-torch"), store.run("digits-keras")]
    for figure in ("loss", "step-time", "difference"):
        view = figure_view(store, runs, figure)
        again = figure_view(store, runs, figure)
        assert render(view, format, runs=runs) == render(again, format, runs=runs)
    wider = render(view, format, runs=runs, width="double")
    assert (wider == render(view, format, runs=runs)) is (format == "csv")


def test_threads_draw_what_one_thread_draws() -> None:
    views = [view_of(curve([1.0, 2.0 + k])) for k in range(4)]
    alone = [render(view, "svg", width=width) for view in views for width in ("single", "slide")]
    barrier = threading.Barrier(4)

    def draw(view: CurvesView) -> list[bytes]:
        barrier.wait()
        return [render(view, "svg", width=width) for width in ("single", "slide")]

    with ThreadPoolExecutor(4) as pool:
        together = [content for contents in pool.map(draw, views) for content in contents]
    assert together == alone


def test_a_pdf_is_vectors_with_embedded_truetype_and_no_date(store: Store) -> None:
    content = render(curves_view(store, ["digits-torch"], "train/loss"), "pdf")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"/Subtype /Image" not in content
    assert b"CreationDate" not in content
    assert b"ModDate" not in content
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
    assert box is not None
    assert float(box[1]) == pytest.approx(3.35 * 72)


def test_an_svg_has_no_date_and_no_picture(store: Store) -> None:
    content = render(curves_view(store, ["digits-torch"], "train/loss"), "svg")
    assert b"<dc:date" not in content
    assert re.search(rb"\b20\d\d-\d\d-\d\d", content) is None
    assert b"<image" not in content
    assert b"sans-serif" in content  # any font will do where DejaVu is not installed


@pytest.mark.parametrize(("width", "inches"), [("single", 3.35), ("double", 7.0), ("slide", 10.0)])
def test_a_png_has_the_pixels_and_the_resolution_asked_for(width: str, inches: float) -> None:
    content = render(view_of(curve([1.0, 2.0])), "png", width=width, dpi=200)
    pixels, height = struct.unpack(">II", content[16:24])
    assert pixels == pytest.approx(inches * 200, abs=1)
    if width == "slide":
        assert height == pytest.approx(5.6 * 200, abs=1)
    chunks: dict[bytes, bytes] = {}
    offset = 8
    while offset < len(content):
        (length,) = struct.unpack(">I", content[offset : offset + 4])
        chunks[content[offset + 4 : offset + 8]] = content[offset + 8 : offset + 8 + length]
        offset += 12 + length
    per_meter, _, unit = struct.unpack(">IIB", chunks[b"pHYs"])
    assert (round(per_meter * 0.0254), unit) == (200, 1)
    assert b"tIME" not in chunks
    assert chunks[b"tEXt"] == b"Software\0trackside"


def test_curves_draw_every_point_of_the_view() -> None:
    """What the CSV lists is what the PDF's path runs through."""
    values = [math.sin(step / 3.0) for step in range(300)]
    content = render(view_of(curve(values)), "pdf")
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    drawing = b"\n".join(zlib.decompress(stream) for stream in streams if stream[:1] == b"x")
    longest = max(re.findall(rb"[\d.-]+ [\d.-]+ m\n(?:[\d.-]+ [\d.-]+ l\n)+", drawing), key=len)
    assert longest.count(b" l\n") == len(values) - 1


def test_step_times_without_a_split_draw_the_median_alone() -> None:
    counts = np.zeros(10, np.int64)
    counts[2] = 50
    view = StepTimesView(rows=(), edges=np.linspace(0.01, 0.02, 11), skipped=1)
    assert "nothing to show" in svg_texts(render(view, "svg"))
    from trackside.runs.views import StepTimes

    row = StepTimes(
        run_id="a", label="a", framework=None, count=50, first_seconds=1.0, median=0.0125, p95=0.0129, p99=0.013,
        mean=0.0125, data_median=math.nan, compute_median=math.nan, samples_per_second=math.nan, counts=counts,
    )  # fmt: skip
    texts = svg_texts(render(replace(view, rows=(row,)), "svg"))
    assert "median 12.5 · p95 12.9 · p99 13.0" in texts
    assert "waiting for data" not in texts
