"""Fingerprints of data and weights that do not depend on layout, so that two frameworks can be compared."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .guard import Guard

Array = NDArray[Any]

BATCH_COUNT = 8
"""How many of the first batches are fingerprinted."""

# Sorting this many values takes about 5 s of one core; a larger batch is left out rather than hashed in part.
LARGEST_BATCH = 1 << 26


def batch_digest(arrays: Iterable[Array]) -> str:
    """Return the digest of one batch, the same in every framework that was handed the same samples.

    Of each sample all floating-point values (as float32) and all integers (as int64) are sorted and the samples
    hashed in order. So the order of samples matters; channels first or last, the order of inputs and labels in the
    batch, and the width of a number do not.

    Args:
        arrays: the batch's arrays, inputs and labels alike. Those with the batch's length as their first dimension
            are taken sample by sample, others (a scalar, a shared mask) as a whole.

    Returns:
        32 hexadecimal digits.

    Raises:
        TypeError: if an array holds neither numbers nor booleans.
    """
    plain = [_plain(array) for array in arrays]
    samples = batch_size(plain)
    digest = hashlib.blake2b(digest_size=16)
    for kind in (np.float32, np.int64):
        per_sample = [a.reshape(samples, -1) for a in plain if a.dtype == kind and _leads(a, samples)]
        shared = [a.reshape(1, -1) for a in plain if a.dtype == kind and not _leads(a, samples)]
        for group in (per_sample, shared):
            if group:
                values = np.sort(np.concatenate(group, axis=1), axis=1)
                digest.update(f"{np.dtype(kind).name}{values.shape}".encode())
                digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def batch_size(arrays: Iterable[Array]) -> int:
    """Return the length of the first dimension of the first array that has one; 1 where none does."""
    return next((len(array) for array in arrays if array.ndim), 1)


def weights_fingerprint(tensors: Iterable[Array], frozen: Iterable[tuple[str, Array]] = ()) -> dict[str, Any]:
    """Return `{"parameter_count", "tensors": [{"count", "norm", "mean"}, …]}` of the tensors that are trained.

    Count, norm and mean survive a transpose, so kernels stored in another order still agree.

    Args:
        tensors: any shape; each is summed in float64. An iterator is read one tensor at a time.
        frozen: names and values of parameters that the training leaves as they are; they come under `"frozen"`, each
            with its `"name"`.
    """
    rows = [_statistics(tensor) for tensor in tensors]
    found = {"parameter_count": sum(int(row["count"]) for row in rows), "tensors": rows}
    left = [{"name": name, **_statistics(tensor)} for name, tensor in frozen]
    return {**found, "frozen": left} if left else found


def _statistics(tensor: Array) -> dict[str, Any]:
    flat = np.asarray(tensor).reshape(-1).astype(np.float64)
    mean = float(flat.mean()) if flat.size else 0.0
    return {"count": int(flat.size), "norm": float(np.sqrt(np.dot(flat, flat))), "mean": mean}


class DataFingerprint:
    """Collects the digests of the first batches of a data set, hashing on a thread of its own.

    Args:
        record: receives the JSON object `{"batch_size", "samples_per_epoch" or "samples", "digests"}` each time
            more of it is known; called from the hashing thread or from `count`. Where samples have weights it also
            has `digests_without_weights`: another framework may keep those in its loss; and `batches_per_epoch` where
            that was given.
        samples_key: what the number of samples goes under: `samples_per_epoch` for training, `samples` for
            evaluation.
        limit: how many batches to hash.
        guard: takes what goes wrong on the hashing thread.
    """

    def __init__(
        self,
        record: Callable[[dict[str, Any]], None],
        *,
        samples_key: str = "samples_per_epoch",
        limit: int = BATCH_COUNT,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard or Guard()
        self._record = record
        self._samples_key = samples_key
        self._remaining = limit
        self._known: dict[str, Any] = {}
        self._digests: list[str] = []
        self._unweighted: list[str] = []
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[list[Array], int] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def wanted(self) -> bool:
        """Whether a further batch should be given to `add`."""
        return self._remaining > 0

    @property
    def remaining(self) -> int:
        """How many further batches are wanted."""
        return self._remaining

    def add(self, arrays: Sequence[Array], *, copy: bool = True, weights: int = 0) -> None:
        """Take the next batch in order; hashed later.

        Args:
            arrays: the batch's arrays.
            copy: False where the caller gives the arrays away: nobody will write to them.
            weights: how many of the arrays, the last ones, weigh its samples.
        """
        if self._remaining <= 0:
            return
        self._remaining -= 1
        if sum(array.size for array in arrays) > LARGEST_BATCH or any(a.dtype.kind not in "fiub" for a in arrays):
            self._remaining = 0  # a gap in the list would shift every later batch
        else:
            self._queue.put(([array.copy() for array in arrays] if copy else list(arrays), weights))
            if self._thread is None:
                self._thread = threading.Thread(target=self._hash, name="trackside-fingerprint", daemon=True)
                self._thread.start()
        if self._remaining <= 0:
            self._queue.put(None)

    def count(self, samples: int) -> None:
        """Say how many samples a whole pass holds."""
        self._update(**{self._samples_key: samples})

    def count_batches(self, batches: int) -> None:
        """Say how many batches a whole pass holds, where that is known before the samples are."""
        self._update(batches_per_epoch=batches)

    def close(self, timeout: float = 2.0) -> None:
        """Take no further batch and wait up to `timeout` seconds for the hashing to end."""
        self._remaining = 0
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout)

    def _hash(self) -> None:
        with self._guard("fingerprint the data"):
            while (batch := self._queue.get()) is not None:
                arrays, weights = batch
                if not self._digests:
                    self._known["batch_size"] = batch_size(arrays)
                self._digests.append(batch_digest(arrays))
                if weights:
                    self._unweighted.append(batch_digest(arrays[:-weights]))
            unweighted = {"digests_without_weights": list(self._unweighted)} if self._unweighted else {}
            self._update(digests=list(self._digests), **unweighted)

    def _update(self, **known: Any) -> None:
        with self._lock:
            self._known.update(known)
            self._record(dict(self._known))


def _plain(array: Array) -> Array:
    """Return the array as float32 or int64, with one zero and one NaN."""
    if array.dtype.kind == "f":
        values = array.astype(np.float32) + np.float32(0.0)  # -0.0 + 0.0 is 0.0
        return np.where(np.isnan(values), np.float32(np.nan), values)
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    raise TypeError(f"a batch of {array.dtype} has no digest: only numbers and booleans do.")


def _leads(array: Array, samples: int) -> bool:
    return array.ndim > 0 and len(array) == samples
