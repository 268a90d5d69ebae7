"""What trackside raises. Every message is one sentence for a person and ends with the cure."""


class TracksideError(Exception):
    """Base of everything trackside raises on purpose.

    Attributes:
        exit_code: what the command line exits with: 1 when the work failed, 2 when the request was wrong.
    """

    exit_code = 1


class UsageError(TracksideError):
    """The request itself was wrong: an unknown run, an option out of range, a malformed URL."""

    exit_code = 2


class StoreError(TracksideError):
    """The store answered, but cannot be used: not a database, another schema version, read-only, full."""


class StoreUnreachableError(StoreError):
    """The store did not answer: server down, locked beyond patience, network gone. Trying again may help."""


class StoreURLError(UsageError):
    """The store's URL cannot be understood."""


class RunNotFoundError(UsageError):
    """No run, or more than one, goes by the given id, prefix or name."""


class SeriesNotFoundError(UsageError):
    """The run exists but logged no metric of that name."""


class TraceError(TracksideError):
    """A profiler trace cannot be read: not a trace, cut short, without a step, or a part of trackside is missing."""


class ArtifactNotFoundError(UsageError):
    """No artifact goes by the given id."""
