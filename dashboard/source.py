"""The dashboard's way to the store: opened on first use, so that the page can say why it cannot be."""

from __future__ import annotations

from threading import Lock

from ..db.store import Store, open_store

KEEP_BYTES = 64_000_000
"""Of points that were drawn before: eight series of a million steps, so that zooming into them need not read again."""


class StoreSource:
    """Hands out one open store. A failed opening is tried again at the next request, so the page recovers by itself.

    Args:
        url: where runs live, as `open_store` takes it.
    """

    def __init__(self, url: str | None) -> None:
        self.url = url
        self._store: Store | None = None
        self._lock = Lock()

    def __call__(self) -> Store:
        """The open store.

        Raises:
            StoreError: if it cannot be opened; the message says what to do.
        """
        with self._lock:
            if self._store is None:
                self._store = open_store(self.url, keep_bytes=KEEP_BYTES)
            return self._store

    def close(self) -> None:
        """Release the store's connections."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None
