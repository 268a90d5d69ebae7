"""What the Debug page is made of: its address, the pictures it draws, and that values stay data."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import zlib

import numpy as np
import pytest

import trackside
from trackside.dashboard.comparison import load
from trackside.dashboard.debug_query import DebugQuery, debug_address
from trackside.dashboard.heatmap import NOT_FINITE, pixels, readout, ticks
from trackside.dashboard.pages import debug_divergence, debug_layers, debug_records, debug_timeline
from trackside.dashboard.pages.debug_timeline import round_steps
from trackside.dashboard.png import encode
from trackside.dashboard.sparkline import curve_mask
from trackside.runs.debugging.layers import NAN, layers_view
from trackside.runs.debugging.records import DebugRecord, Source, records

HOSTILE = "<script>alert(1)</script>"


def text(component):
    """All that a component says, as the browser would be sent it."""
    return json.dumps(component.to_plotly_json(), default=lambda part: part.to_plotly_json(), ensure_ascii=False)


def path_of(mask):
    svg = base64.b64decode(re.search(r"base64,([^\"]+)", mask)[1]).decode()
    return re.search(r' d="([^"]*)"', svg)[1]


@pytest.fixture
def store(sqlite_url):
    with trackside.open_store(sqlite_url) as opened:
        yield opened


@pytest.fixture
def run_id(sqlite_url):
    """A run whose second layer gives NaN from step 12 on, with a record of it."""
    with trackside.start_run(name="bad", store=sqlite_url) as run:
        for step in range(20):
            value = math.nan if step >= 12 else 0.0 if step == 3 else 10.0 ** (step / 4)
            run.log(
                {"train/loss": value, "layers/a/gradient_norm": 1.0, f"layers/{HOSTILE}/gradient_norm": value},
                step=step,
            )
        record = DebugRecord(
            quantity="activation",
            layer=HOSTILE,
            layer_class="Linear",
            operator="aten.div.Tensor",
            source=Source(file="/me/train.py", line=7, function="forward", code=((6, "a"), (7, HOSTILE), (8, ""))),
            last_losses=((10, 1.5), (11, 2.5), (12, math.nan)),
            counts={"nan": 3, "positive_infinity": 0, "negative_infinity": 1, "size": 32},
            inputs=({"shape": [32, 10], "dtype": "float32"},),
            cannot=("Which of two.",),
            how="search",
            exact=True,
        )
        run.event("non_finite", f"The output of {HOSTILE} is not finite.", step=12, detail=record.to_json())
    return run.id


def test_the_address_holds_the_view_and_survives_nonsense():
    query = DebugQuery(runs=("a", "b"), statistic="zero_fraction", pair=("b", "a"), record=("b", 40))
    assert query.search() == "?runs=a,b&statistic=zero_fraction&pair=b,a&record=b:40"
    assert DebugQuery.parse(query.search()) == query
    assert DebugQuery.parse("?runs=a,,a&statistic=weight&pair=a&record=a:-1") == DebugQuery(runs=("a",))
    assert DebugQuery.parse("?record=a:99999999999999999999").record is None
    assert debug_address(["a", "b"]) == "/debug?runs=a,b"


def test_a_picture_is_written_as_png():
    picture = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    content = encode(picture)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (3, 2)
    length = struct.unpack(">I", content[33:37])[0]
    lines = zlib.decompress(content[41 : 41 + length])
    assert lines == b"".join(b"\0" + row.tobytes() for row in picture)
    with pytest.raises(ValueError, match="no picture"):
        encode(np.zeros((0, 3, 4), np.uint8))


def test_cells_are_coloured_by_the_largest_value_and_marked_where_not_finite(store, run_id):
    view = layers_view(store, [run_id])
    rows = view.rows[run_id]
    picture = pixels(rows, view)
    assert picture.shape == (2, 20, 4)
    marked = [row for row in range(2) if tuple(int(c) for c in picture[row, 15, :3]) == _rgb(NOT_FINITE[NAN])]
    assert len(marked) == 1
    bad = marked[0]
    assert picture[bad, 11, 1] > picture[bad, 0, 1]  # greener upwards
    assert (picture[..., 3] == 255).all()
    assert [value for _, value in ticks(view)] == [1.0, 10.0, 100.0]
    table = np.frombuffer(base64.b64decode(readout(rows)), "<f4").reshape(2, 2, 20)
    assert math.isnan(table[bad, 0, 15])
    assert table[bad, 1, 4] == 10.0


def _rgb(color):
    return tuple(int(color[place : place + 2], 16) for place in (1, 3, 5))


def test_a_small_curve_breaks_where_a_value_is_not_finite():
    path = path_of(curve_mask(np.arange(5.0), np.array([1.0, 2.0, math.nan, 3.0, 1.0]), (0.0, 4.0)))
    assert [part[0] for part in re.findall(r"[ML][^ML]+", path)] == ["M", "L", "M", "L"]
    assert path.startswith("M0.0 94.0")
    assert path_of(curve_mask(np.empty(0), np.empty(0), (0.0, 0.0))) == ""


def test_a_card_tells_the_whole_record_as_text(store, run_id):
    comparison = load(store, [run_id])
    found = {run_id: records(store, run_id)}
    said = text(debug_records.section(store, comparison, found))
    assert "3 NaN and 1 −∞ of 32" in said
    assert "32 × 10" in said
    assert "aten.div.Tensor" in said
    assert "Which of two." in said
    assert said.count("line culprit") == 1
    assert "DangerouslySetInnerHTML" not in said
    assert "A divisor was zero" in said  # what to look at first


def test_a_mark_on_the_track_leads_to_its_record(store, run_id):
    comparison = load(store, [run_id])
    said = text(debug_timeline.section(store, comparison, {run_id: records(store, run_id)}, DebugQuery(runs=(run_id,))))
    assert f"/debug?runs={run_id}&record={run_id}:12" in said
    assert f"{100 * 12 / 19:.3f}%" in said


def test_a_run_without_a_record_whose_loss_is_not_finite_says_so(store, sqlite_url):
    with trackside.start_run(name="old", store=sqlite_url) as run:
        run.log({"train/loss": math.inf}, step=4)
    said = text(debug_records.section(store, load(store, [run.id]), {run.id: []}))
    assert "train/loss is not finite at step 4" in said


def test_heatmaps_and_findings_name_layers_as_text(store, run_id, sqlite_url):
    with trackside.start_run(name="other", store=sqlite_url) as run:
        run.log({"train/loss": 1.0, "layers/a/gradient_norm": 5.0}, step=0)
    comparison = load(store, [run_id, run.id])
    query = DebugQuery(runs=(run_id, run.id))
    layers = text(debug_layers.section(store, comparison, query))
    assert layers.count("data:image/png;base64,") == 2
    assert HOSTILE in layers
    assert "no such layer" in layers
    said = text(debug_divergence.section(store, comparison, query))
    assert "part at step 0" in said
    assert debug_divergence.section(store, load(store, [run_id]), query) is None


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 7), (3, 219), (10, 1_000_000), (0, 10**15)])
def test_steps_on_an_axis_are_round_and_few(first, last):
    steps = round_steps(first, last)
    assert len(steps) <= 7
    assert all(first <= step <= last for step in steps)
    assert steps or first == last
