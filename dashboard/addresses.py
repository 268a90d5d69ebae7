"""Which addresses may be kept as a view: those of our own pages, and of them only what makes the view."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

from ..db.errors import UsageError

PAGES = {"/": "Runs", "/compare": "Compare"}
"""Path and name of the pages that have views."""

FLEETING = ("selected", "token")  # a tick is no part of a view, and a token is nobody else's business


def view_address(address: str) -> str:
    """The address as it is kept.

    Args:
        address: path and query, as the browser has them.

    Raises:
        UsageError: if it leads anywhere but to a page of the dashboard that has views.
    """
    path, query = _parts(address)
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key not in FLEETING]
    return path + ("?" + urlencode(kept, safe=",/:") if kept else "")


def is_view_address(address: str) -> bool:
    """Whether a link may lead there: a store may have been written by others."""
    try:
        _parts(address)
    except UsageError:
        return False
    return True


def page_name(address: str) -> str:
    """Name of the page that the address of a view leads to."""
    return PAGES[_parts(address)[0]]


def _parts(address: str) -> tuple[str, str]:
    """Path and query of an address of ours."""
    # Browsers read a backslash as a slash, and drop line breaks and tabs: `/\\there` would leave the site.
    plain = address.startswith("/") and address.isascii() and address.isprintable() and "\\" not in address
    parts = urlsplit(address) if plain and not address.startswith("//") else None
    if parts is not None and not (parts.scheme or parts.netloc or parts.fragment):
        path = parts.path.rstrip("/")
        path = "/" if path in ("", "/runs") else path
        if path in PAGES:
            return path, parts.query
    raise UsageError(f"Only a view of {' or '.join(PAGES.values())} can be saved: open that page, and save it there.")
