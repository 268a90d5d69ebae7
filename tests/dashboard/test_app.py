"""The dashboard over HTTP: who is let in, what the headers say, and what happens when the store is away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from werkzeug.test import Client, TestResponse

import trackside
from trackside.dashboard.app import create_app
from trackside.dashboard.query import CompareQuery
from trackside.dashboard.security import is_loopback
from trackside.dashboard.tensorboard import TensorBoardLinks, folder_name
from trackside.db.errors import UsageError
from trackside.db.store import open_store

Train = Callable[..., str]


@pytest.fixture
def client(sqlite_url: str) -> Iterator[Client]:
    app = create_app(sqlite_url)
    yield app.server.test_client()
    app.server.extensions["trackside_source"].close()


def navigate(client: Client, path: str, search: str = "", **headers: str) -> TestResponse:
    """What the browser asks of the router when it opens an address."""
    body = {
        "output": "..page.children...page-key.data..",
        "outputs": [{"id": "page", "property": "children"}, {"id": "page-key", "property": "data"}],
        "inputs": [
            {"id": "url", "property": "pathname", "value": path},
            {"id": "url", "property": "search", "value": search},
        ],
        "state": [{"id": "page-key", "property": "data", "value": None}],
        "changedPropIds": ["url.pathname"],
    }
    return client.post("/_dash-update-component", json=body, headers=headers)


def test_page_and_scripts_come_from_this_host_alone(client: Client) -> None:
    html = client.get("/").get_data(as_text=True)
    assert "http://" not in html
    assert "https://" not in html
    assert "plotly-basic" in html


def test_headers_are_strict(client: Client) -> None:
    headers = client.get("/").headers
    policy = headers["Content-Security-Policy"]
    scripts = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
    assert "unsafe" not in scripts
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("path", "at_once", "later"),
    [("/", "dash_ag_grid", "plotly-basic"), ("/compare?runs=a", "plotly-basic", "dash_ag_grid")],
)
def test_each_page_waits_for_the_scripts_it_needs_alone(client: Client, path: str, at_once: str, later: str) -> None:
    html = client.get(path).get_data(as_text=True)
    assert [name for name in re.findall(r'<script src="([^"]*)"', html) if at_once in name]
    assert not [name for name in re.findall(r'<script src="([^"]*)"', html) if later in name]
    waiting = re.findall(r'<script type="text/plain" data-later="([^"]*)"', html)
    assert [later in name for name in waiting] == [True]
    assert client.get(waiting[0]).status_code == 200


def test_a_page_with_a_table_asks_for_all_of_the_grid_at_once(client: Client, train: Train) -> None:
    def grid(path: str) -> list[str]:
        return re.findall(r'<script src="([^"]*dash_ag_grid[^"]*)"', client.get(path).get_data(as_text=True))

    assert len(grid("/")) == 1
    navigate(client, "/")
    assert len(grid("/")) == 1  # a store without runs has no table
    train("one")
    navigate(client, "/")
    half, main = grid("/")
    assert "async-community" in half
    assert client.get(half).get_data(as_text=True) == client.get(
        "/_dash-component-suites/dash_ag_grid/async-community.js"
    ).get_data(as_text=True)
    assert len(grid("/claims")) == 1
    assert main == grid("/claims")[0]


def test_assets_are_compressed_and_kept_for_long(client: Client) -> None:
    html = client.get("/compare").get_data(as_text=True)
    script = next(part.split('"')[0] for part in html.split('src="') if "plotly-basic" in part.split('"')[0])
    first = client.get(script, headers={"Accept-Encoding": "gzip"})
    assert first.headers["Content-Encoding"] == "gzip"
    assert "immutable" in first.headers["Cache-Control"]
    assert client.get(script, headers={"Accept-Encoding": "gzip"}).data == first.data
    assert navigate(client, "/").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8050", "127.0.0.1.evil.example", "192.168.1.5"])
def test_foreign_host_header_is_refused(client: Client, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8050", "127.0.0.1", "[::1]:8050"])
def test_loopback_host_header_is_answered(client: Client, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_post_from_another_site_is_refused(client: Client) -> None:
    assert navigate(client, "/", Origin="https://evil.example").status_code == 403
    assert navigate(client, "/", Origin="null").status_code == 403
    assert navigate(client, "/", Origin="http://localhost").status_code == 200


def test_other_machines_need_a_token() -> None:
    with pytest.raises(UsageError, match="token"):
        create_app("sqlite:///unused.db", host="0.0.0.0")
    assert is_loopback("::1")
    assert is_loopback("127.0.0.9")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("localhost.evil.example")


def test_token_opens_once_by_address_then_by_cookie(sqlite_url: str) -> None:
    client = create_app(sqlite_url, host="0.0.0.0", token="s3cret ☃").server.test_client()
    assert client.get("/").status_code == 401
    assert navigate(client, "/").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    opened = client.get("/compare", query_string={"runs": "a,b", "token": "s3cret ☃"})
    assert opened.status_code == 302
    assert "token" not in opened.headers["Location"]
    assert "runs=a%2Cb" in opened.headers["Location"]
    assert "HttpOnly" in opened.headers["Set-Cookie"]
    assert "SameSite=Lax" in opened.headers["Set-Cookie"]
    assert "s3cret" not in opened.headers["Set-Cookie"]
    assert client.get("/").status_code == 200


def test_token_opens_by_bearer_header(sqlite_url: str) -> None:
    client = create_app(sqlite_url, token="abc").server.test_client()
    assert client.get("/", headers={"Authorization": "Bearer abc"}).status_code == 200
    assert client.get("/", headers={"Authorization": "Bearer abd"}).status_code == 401


def test_empty_store_shows_how_to_begin(client: Client) -> None:
    answer = navigate(client, "/").get_data(as_text=True)
    assert "LightningTracker()" in answer
    assert "KerasTracker()" in answer


def test_unusable_store_gives_one_sentence_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("this is no database, but a text that is long enough to be read as a header of one, surely")
    app = create_app(f"sqlite:///{path}")
    client = app.server.test_client()
    answer = navigate(client, "/").get_data(as_text=True)
    assert "The store cannot be read" in answer
    assert "Traceback" not in answer
    path.unlink()
    assert "No runs yet" in navigate(client, "/").get_data(as_text=True)
    app.server.extensions["trackside_source"].close()


def test_compare_names_runs_that_do_not_exist(client: Client) -> None:
    answer = navigate(client, "/compare", "?runs=nobody").get_data(as_text=True)
    assert "nobody" in answer
    assert "Choose runs" in answer


def test_unknown_page_is_said_to_be_unknown(client: Client) -> None:
    assert "No such page" in navigate(client, "/nowhere").get_data(as_text=True)


def test_downloads_are_the_view_and_the_same_bytes_twice(client: Client, train: Train) -> None:
    a, b = train("one"), train("two", rate=0.2)
    for kind, magic in (("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml"), ("csv", b"run,")):
        query = {"runs": f"{a},{b}", "figure": "curves", "subject": "train/loss"}
        first = client.get(f"/download/{kind}", query_string=query)
        assert first.status_code == 200
        assert first.data.startswith(magic)
        assert first.headers["Content-Disposition"] == f'attachment; filename="curves-train-loss.{kind}"'
        assert client.get(f"/download/{kind}", query_string=query).data == first.data


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/download/exe?runs={run}&figure=curves&subject=train/loss", "no download format"),
        ("/download/csv?runs={run}&figure=curves&subject=nothing", "logged"),
        ("/download/csv?runs={run}&figure=pie", "no figure"),
        ("/download/csv?runs=nobody&figure=curves", "no run"),
    ],
)
def test_download_of_what_is_not_there_is_a_sentence(client: Client, train: Train, path: str, sentence: str) -> None:
    answer = client.get(path.format(run=train("one")))
    assert answer.status_code == 400
    assert sentence in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "search",
    [
        "?runs=a,b",
        "?runs=a,b&axis=epoch&smoothing=0.6&log=1&metric=train/loss&metric=odd,name&find=^val|%2B&x=1.5,20.0&pair=b,a&difference=val/loss",
    ],
)
def test_query_is_read_and_written_alike(search: str) -> None:
    query = CompareQuery.parse(search)
    assert CompareQuery.parse(query.search()) == query
    assert query.runs == ("a", "b")


def test_malformed_query_falls_back_to_defaults() -> None:
    query = CompareQuery.parse("?runs=a,,a&axis=moon&smoothing=many&x=5,1&pair=a&log=yes")
    assert query == CompareQuery(runs=("a",))
    assert CompareQuery.parse("?smoothing=7").smoothing < 1
    assert CompareQuery.parse("?x=nan,3").x_range is None


def test_tensorboard_links_only_runs_that_wrote_events(sqlite_url: str, train: Train, tmp_path: Path) -> None:
    run_id = train("name with / and <b>")
    with open_store(sqlite_url) as store:
        run = store.run(run_id)
    assert TensorBoardLinks("http://127.0.0.1:6006").url(run) is None
    assert "/" not in folder_name(run)
    assert "<" not in folder_name(run)
    with pytest.raises(UsageError, match="http"):
        TensorBoardLinks("javascript:alert(1)")


def test_a_file_of_a_run_is_served_by_id_and_never_by_path(
    client: Client, train: Train, sqlite_url: str, tmp_path: Path
) -> None:
    run, secret = train("one"), tmp_path / "secret.txt"
    secret.write_text("not for the web")
    with trackside.open_store(sqlite_url) as store:
        mine = store.attach(run, "../<b>é.html", "page", b"<script>alert(1)</script>")
        elsewhere = store.attach(run, "large", "trace/chrome", b"")
        with store.write() as connection:
            connection.execute(
                text("update artifacts set path = :path, payload = null where id = :id"),
                {"path": str(secret), "id": elsewhere},
            )
    answer = client.get(f"/artifact/{run}/{mine}")
    assert answer.data == b"<script>alert(1)</script>"
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="b_.html"'
    for path in (f"/artifact/{run}/{elsewhere}", f"/artifact/{run}/999", f"/artifact/nobody/{mine}"):
        refused = client.get(path)
        assert refused.status_code == 404
        assert b"not for the web" not in refused.data
