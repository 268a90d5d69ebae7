"""Saved views: the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trackside.db.errors import UsageError
from trackside.db.saved_views import LONGEST_ADDRESS, LONGEST_NAME, SavedViews
from trackside.db.store import open_store


@pytest.fixture
def views(store_url):
    with open_store(store_url) as store:
        yield SavedViews(store)


def test_a_view_is_kept_under_its_name(views):
    saved = views.save("  failed \n runs ", "/?state=failed&sort=-started")
    assert views.all() == [saved]
    assert (saved.name, saved.address) == ("failed runs", "/?state=failed&sort=-started")
    assert abs((datetime.now(UTC) - saved.created).total_seconds()) < 60


def test_names_are_text_of_any_kind_and_stand_in_alphabetical_order(views):
    for name in ("<b>bold</b>", "zebra", "Äpfel", "apples", "🚂 '); DROP TABLE runs; --"):
        views.save(name, "/")
    assert [view.name for view in views.all()] == [
        "<b>bold</b>",
        "apples",
        "zebra",
        "Äpfel",
        "🚂 '); DROP TABLE runs; --",
    ]


def test_what_databases_cannot_keep_is_left_out_of_a_name(views):
    assert views.save("a\x00b\ud800c", "/").name == "a b c"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("", "at least one letter"), (" \n\x00", "at least one letter"), ("x" * (LONGEST_NAME + 1), "at most 100")],
)
def test_a_name_that_is_none_is_refused(views, name, sentence):
    with pytest.raises(UsageError, match=sentence):
        views.save(name, "/")
    assert views.all() == []


def test_two_views_of_one_name_are_refused_and_nothing_is_lost(views):
    first, second = views.save("mine", "/?q=a"), views.save("other", "/?q=b")
    for attempt in (lambda: views.save(" mine ", "/?q=c"), lambda: views.rename(second.id, "mine")):
        with pytest.raises(UsageError, match="There is a view “mine” already: choose another name"):
            attempt()
    assert views.all() == [first, second]


def test_an_address_too_long_for_a_request_is_refused(views):
    with pytest.raises(UsageError, match="too long an address"):
        views.save("long", "/?q=" + "x" * LONGEST_ADDRESS)


def test_a_view_is_renamed_and_removed(views):
    view = views.save("before", "/")
    views.rename(view.id, "after")
    views.rename(view.id, "after")  # its own name is not taken
    assert [found.name for found in views.all()] == ["after"]
    removed = views.remove(view.id)
    assert removed is not None
    assert removed.name == "after"
    assert views.remove(view.id) is None
    with pytest.raises(UsageError, match="deleted meanwhile"):
        views.rename(view.id, "again")
    assert views.save("after", "/").name == "after"
