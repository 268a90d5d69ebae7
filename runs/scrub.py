"""Makes settings plain enough to store, and blots out what looks like a secret."""

from __future__ import annotations

import enum
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

BLOT = "***"

# Settings are for people to compare; nothing of that needs more.
LONGEST_TEXT = 2000
MOST_ITEMS = 500
DEEPEST = 8

_SECRET_WORDS = frozenset(
    {
        "password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "apikey",
        "authorization", "bearer", "cookie",
    }
)  # fmt: skip
_SECRET_PAIRS = frozenset(
    {("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("auth", "key"), ("account", "key")}
)
# `token` alone also names vocabulary ("pad_token": "<pad>"), so its value must be long enough to be a credential.
_SHORTEST_TOKEN = 12

_SECRET_VALUE = re.compile(
    r"""
      \b(?:sk|pk|rk)[-_](?:live|test|proj|ant|or)?[-_A-Za-z0-9]{16,}
    | \bgh[opusr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,} | \bglpat-[-_A-Za-z0-9]{16,}
    | \bhf_[A-Za-z0-9]{20,} | \bxox[abeprs]-[-A-Za-z0-9]{10,} | \bnpm_[A-Za-z0-9]{30,} | \bpypi-[-_A-Za-z0-9]{30,}
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b | \bAIza[-_A-Za-z0-9]{30,} | \bdop_v1_[a-f0-9]{32,}
    | \beyJ[-_A-Za-z0-9]{8,}\.[-_A-Za-z0-9]{8,}\.[-_A-Za-z0-9]*
    | (?<=Bearer\ )[-._~+/=A-Za-z0-9]{8,}
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----[\s\S]*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    """,
    re.VERBOSE,
)
# Possessive, and never from the middle of a word: a long text without a space must not take a time that grows with its
# square.
_URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*+(?=@)")
_ASSIGNMENT = re.compile(
    r"""(?<![A-Za-z0-9_])(?P<name>[A-Za-z0-9_][-A-Za-z0-9_]*+)(?P<mark>["']?\s*[=:]\s*)"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s,;&]+)"""
)
# A literal that code puts under a name: `x = "…"`, `x: str = "…"`, `os.environ["X"] = "…"`, `setdefault("X", "…")`.
_LITERAL = re.compile(
    r"""
    (?<![A-Za-z0-9_])(?P<name>[A-Za-z_][A-Za-z0-9_]*+)
    (?P<mark>\s*(?::[^=\n]{1,80})?=\s* | ["']\s*\]\s*=\s* | ["']\s*,\s*)
    (?P<prefix>[rRbBuUfF]{0,2})(?P<value>\"{3}[\s\S]*?\"{3} | '{3}[\s\S]*?'{3} | "[^"\n]*" | '[^'\n]*')
    """,
    re.VERBOSE,
)
_KEY_LITERAL = re.compile(r"""(?<![A-Za-z0-9_])(key\s*=\s*)(["'])[-A-Za-z0-9_]{20,}\2""")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def names_secret(name: str) -> bool:
    """Whether something of this name is usually a secret: `password`, `apiKey`, `AWS_SECRET_ACCESS_KEY`."""
    words = [word.lower() for word in _WORD.findall(name)]
    return not _SECRET_WORDS.isdisjoint(words) or any(pair in _SECRET_PAIRS for pair in pairwise(words))


def names_token(name: str) -> bool:
    """Whether something of this name is a token, secret or merely a word of a vocabulary."""
    return "token" in [word.lower() for word in _WORD.findall(name)]


def is_secret(name: str, value: str) -> bool:
    """Whether a text under this name is to be blotted out whole."""
    return bool(value) and (names_secret(name) or (names_token(name) and len(value) >= _SHORTEST_TOKEN))


def scrub_text(text: str) -> str:
    """Return the text without what looks like a credential by its own form, in a URL or in `name=value`."""

    def blot(match: re.Match[str]) -> str:
        value = match["value"]
        bare = value.strip("\"'")
        return match["name"] + match["mark"] + value.replace(bare, BLOT) if is_secret(match["name"], bare) else match[0]

    text = _SECRET_VALUE.sub(BLOT, text)
    if "://" in text and "@" in text:
        text = _URL_CREDENTIALS.sub(BLOT, text)
    return _ASSIGNMENT.sub(blot, text)


def scrub_code(text: str) -> str:
    """Return source code, or a difference of it, without secrets: literals under a name that gives them away, too."""

    def blot(match: re.Match[str]) -> str:
        bare = match["value"].strip("\"'")
        if not is_secret(match["name"], bare):
            return match[0]
        return match["name"] + match["mark"] + match["prefix"] + match["value"].replace(bare, BLOT)

    return scrub_text(_KEY_LITERAL.sub(rf"\1\2{BLOT}\2", _LITERAL.sub(blot, text)))


def scrub_json(value: Any, *, name: str = "") -> Any:
    """Return JSON as it is, but for texts that look like a secret, or go under a name that gives one away."""
    if isinstance(value, str):
        return BLOT if is_secret(name, value) else scrub_text(value)
    if isinstance(value, Mapping):
        return {key: scrub_json(item, name=str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [scrub_json(item, name=name) for item in value]
    return value


def scrub_command(arguments: Sequence[str]) -> list[str]:
    """Return a command line without secrets, also where they follow their option (`--password hunter2`)."""
    clean = []
    secret_next = False
    for argument in arguments:
        option = argument.startswith("-") and "=" not in argument
        if secret_next and not option:
            clean.append(BLOT)
        else:
            clean.append(scrub_text(argument)[:LONGEST_TEXT])
        secret_next = option and (names_secret(argument) or names_token(argument))
    return clean


def scrub(value: Any, *, name: str = "", depth: int = 0) -> Any:
    """Return settings as plain JSON values with secrets blotted out.

    Mappings, sequences, dataclass-like namespaces and scalars (also NumPy's) keep their form; a class or function
    becomes its name, anything else its `repr`, cut short. Numbers are never blotted out.

    Args:
        value: any object.
        name: what it goes under, which may give a secret away.
        depth: how deep in the structure it lies; below 8 levels only a `repr` is kept.
    """
    if value is None or (isinstance(value, bool | int) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return BLOT if is_secret(name, value) else scrub_text(value[:LONGEST_TEXT])
    if isinstance(value, os.PathLike):
        return scrub_text(str(os.fspath(value)))
    if depth < DEEPEST:
        if isinstance(value, Mapping):
            items = list(value.items())[:MOST_ITEMS]
            return {str(key): scrub(item, name=str(key), depth=depth + 1) for key, item in items}
        if isinstance(value, list | tuple | set | frozenset | range):
            return [scrub(item, name=name, depth=depth + 1) for item in _first(value, MOST_ITEMS)]
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", None) == 1 and hasattr(value, "dtype") and hasattr(value, "tobytes"):
        return scrub(item(), name=name, depth=depth)  # a NumPy scalar; never a tensor on a device
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    return scrub_text(repr(value)[:200])


def _first(values: Iterable[Any], count: int) -> list[Any]:
    ordered = sorted(values, key=repr) if isinstance(values, set | frozenset) else values
    return [item for item, _ in zip(ordered, range(count), strict=False)]
