"""What the Profile page fetches over HTTP: slices, traces as files, and the way to TensorBoard."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import Client

import trackside
from trackside.dashboard.app import create_app
from trackside.dashboard.profile_reader import ProfileReader
from trackside.dashboard.source import StoreSource

Runs = Callable[..., str]


@pytest.fixture
def client(sqlite_url: str, tmp_path: Path) -> Iterator[Client]:
    app = create_app(sqlite_url, tensorboard_url="http://127.0.0.1:6006", tensorboard_folder=tmp_path / "watched")
    yield app.server.test_client()
    app.server.extensions["trackside_source"].close()


def test_slices_of_a_step_are_cut_to_what_is_asked_for(client: Client, profiled: Runs) -> None:
    run = profiled("one")
    whole = client.get("/profile/timeline", query_string={"run": run, "step": 1}).get_json()
    assert whole["names"][whole["name"][0]] == "aten::convolution"  # the longest first
    assert whole["duration"][0] == pytest.approx(4410.0)
    assert whole["end"] == pytest.approx(10_000.0)
    part = client.get("/profile/timeline", query_string={"run": run, "step": 1, "from": 0.0085, "to": 0.0095})
    assert sorted(part.get_json()["start"]) == pytest.approx([8100.0, 9000.0])
    odd = client.get("/profile/timeline", query_string={"run": run, "from": "nan", "to": "later", "step": "-1"})
    assert odd.get_json()["shown"] == whole["shown"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/profile/timeline?run=nobody", "no run"),
        ("/profile/timeline?run={plain}", "no trace"),
        ("/profile/timeline?run={run}&step=99", "no step 99"),
        ("/profile/timeline?run={broken}", "ends in the middle"),
        ("/profile/raw?run={plain}", "no trace"),
        ("/profile/raw", "no run"),
        ("/profile/merged?runs={plain},nobody", "no trace"),
        ("/profile/merged?runs={broken}", "ends in the middle"),
        ("/profile/tensorboard?runs={plain}", "no trace"),
    ],
)
def test_what_is_not_there_is_a_sentence(client: Client, profiled: Runs, train: Runs, path: str, sentence: str) -> None:
    names = {
        "run": profiled("one"),
        "plain": train("plain"),
        "broken": profiled("broken", raw=b'{"traceEvents": [{"ph": "X", '),
    }
    answer = client.get(path.format(**names))
    assert answer.status_code == 400
    assert sentence in answer.get_data(as_text=True)


def test_a_broken_trace_can_still_be_downloaded_as_it_is(client: Client, profiled: Runs) -> None:
    raw = b'{"traceEvents": [{"ph": "X", '
    assert client.get("/profile/raw", query_string={"run": profiled('odd "name" ☃', raw=raw)}).data == raw


def test_the_trace_of_rank_0_is_shown_although_another_came_later(
    sqlite_url: str, client: Client, profiled: Runs
) -> None:
    run, other = profiled("pair"), profiled("slower", scale=2.0)
    with trackside.open_store(sqlite_url) as store:
        (first,) = store.artifacts(run)
        slow = store.artifact_bytes(store.artifacts(other)[0].id)
        store.attach(run, "rank1.json", "trace/chrome", slow, step=10, detail=first.detail, rank=1)
    source = StoreSource(sqlite_url)
    reader, info = ProfileReader(source), source().run(run)
    shown = [reader.profile(info, rank, patience=20) for rank in (0, 1, 7)]
    assert [one.trace.rank for one in shown if one.trace is not None] == [0, 1, 0]
    assert [one.ranks for one in shown] == [(0, 1)] * 3
    assert [sum(one.profile.step_seconds) for one in shown if one.profile is not None] == pytest.approx(
        [0.03, 0.06, 0.03]
    )
    source.close()
    ends = [
        client.get("/profile/timeline", query_string={"run": run, "rank": rank}).get_json()["end"] for rank in (0, 1)
    ]
    assert ends == pytest.approx([10_000.0, 20_000.0])
    assert client.get("/profile/raw", query_string={"run": run, "rank": 1}).data == slow


def test_why_a_trace_could_not_be_recorded_is_told(sqlite_url: str, train: Runs) -> None:
    with trackside.start_run(name="refused", store=sqlite_url) as run:
        run.event("notice", "No steps were profiled: another profiler of this process is at work.")
    source = StoreSource(sqlite_url)
    refused = ProfileReader(source).profile(source().run(run.id))
    assert (refused.state, refused.sentence[:22]) == ("none", "No steps were profiled")
    assert ProfileReader(source).profile(source().run(train("plain"))).sentence == ""
    source.close()


def test_merged_traces_have_a_process_a_run_and_begin_together(client: Client, profiled: Runs, train: Runs) -> None:
    runs = ",".join((profiled("one"), profiled("two", scale=2.0), train("plain")))
    answer = client.get("/profile/merged", query_string={"runs": runs})
    assert 'filename="one-two-plain.trace.json.gz"' in answer.headers["Content-Disposition"]
    events = json.loads(gzip.decompress(answer.data))["traceEvents"]
    assert {event["pid"] for event in events} == {1, 2}
    starts = [event["ts"] for event in events if event["name"] == "aten::convolution" and event["ts"] < 200]
    assert starts == pytest.approx([50.0, 100.0])


def test_tensorboard_is_given_both_traces_and_opened_at_the_first(
    client: Client, profiled: Runs, tmp_path: Path
) -> None:
    answer = client.get("/profile/tensorboard", query_string={"runs": f"{profiled('one')},{profiled('two')}"})
    assert answer.status_code == 302
    written = sorted((tmp_path / "watched").rglob("*.xplane.pb"))
    assert len(written) == 2
    address = urlsplit(answer.headers["Location"])
    run, moment = parse_qs(address.query)["run"][0].split("/")
    assert (address.netloc, address.fragment) == ("127.0.0.1:6006", "profile")
    assert (tmp_path / "watched" / run / "plugins" / "profile" / moment).is_dir()


def test_without_a_tensorboard_of_ours_it_is_said_how_to_have_one(sqlite_url: str, profiled: Runs) -> None:
    app = create_app(sqlite_url)
    answer = app.server.test_client().get("/profile/tensorboard", query_string={"runs": profiled("one")})
    assert answer.status_code == 400
    assert "--tensorboard" in answer.get_data(as_text=True)
    app.server.extensions["trackside_source"].close()
