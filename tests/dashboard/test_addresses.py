"""Which addresses may be kept as a view."""

from __future__ import annotations

import pytest

from trackside.dashboard.addresses import is_view_address, page_name, view_address
from trackside.db.errors import UsageError


@pytest.mark.parametrize(
    ("address", "kept", "page"),
    [
        ("/", "/", "Runs"),
        ("/runs/", "/", "Runs"),
        ("/runs?q=a", "/?q=a", "Runs"),
        ("/?q=a+b&selected=1,2&token=secret&sort=-max:val/acc", "/?q=a+b&sort=-max:val/acc", "Runs"),
        ("/?column=config:a%26b&column=last:%C3%A9", "/?column=config:a%26b&column=last:%C3%A9", "Runs"),
        ("/compare?runs=a,b&metric=", "/compare?runs=a,b&metric=", "Compare"),
        ("/compare?runs=a&find=%5Eval/%3Cscript%3E", "/compare?runs=a&find=%5Eval/%3Cscript%3E", "Compare"),
    ],
)
def test_a_view_is_a_page_of_ours_without_what_is_fleeting(address: str, kept: str, page: str) -> None:
    assert view_address(address) == kept
    assert view_address(kept) == kept
    assert is_view_address(kept)
    assert page_name(kept) == page


@pytest.mark.parametrize(
    "address",
    [
        "",
        "compare?runs=a",
        "https://evil.example/",
        "//evil.example/compare",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " /compare",
        "javascript:alert(1)",
        "data:text/html,hello",
        "/download/pdf?runs=a",
        "/_dash-layout",
        "/compare/../download/pdf",
        "/runs/runs",
        "/compare?runs=é",
        "/compare#javascript:alert(1)",
        "/[",
    ],
)
def test_what_leads_anywhere_else_is_refused(address: str) -> None:
    assert not is_view_address(address)
    with pytest.raises(UsageError, match="Only a view of Runs or Compare can be saved"):
        view_address(address)
