"""What importing costs: a training script must not load a framework it does not use, nor a web server."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = ("torch", "tensorflow", "keras", "lightning", "pytorch_lightning", "jax")
WEB = ("dash", "plotly", "flask", "werkzeug", "waitress", "dash_mantine_components", "dash_ag_grid")
ANALYSIS = ("pandas", "matplotlib", "sklearn", "scipy")
STORE = ("sqlalchemy", "alembic", "psycopg")


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`."""
    program = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(answer.stdout.split())


def test_loaded_by_sees_what_a_statement_imports():
    assert "json" in loaded_by("import json")
    assert not loaded_by("pass") & {*FRAMEWORKS, *WEB, *ANALYSIS, *STORE}


@pytest.mark.parametrize(
    ("statement", "banned"),
    [
        ("import trackside", (*FRAMEWORKS, *WEB, *ANALYSIS, *STORE)),
        ("import trackside; trackside.open_store", (*FRAMEWORKS, *WEB, *ANALYSIS)),
        ("import trackside; trackside.start_run", (*FRAMEWORKS, *WEB, *ANALYSIS)),
        ("import trackside; trackside.compare", (*FRAMEWORKS, *WEB, *ANALYSIS)),
        ("import trackside.cli", (*FRAMEWORKS, *WEB, *ANALYSIS)),
    ],
)
def test_import_stays_light(statement, banned):
    assert not loaded_by(statement) & set(banned)


@pytest.mark.framework
@pytest.mark.parametrize(
    ("tracker", "other"),
    [
        ("LightningTracker", ("tensorflow", "keras")),
        ("KerasTracker", ("torch", "lightning", "pytorch_lightning")),
    ],
)
def test_a_tracker_does_not_load_the_other_framework(tracker, other):
    assert not loaded_by(f"import trackside; trackside.{tracker}") & {*other, *WEB}


def test_unknown_name_is_an_attribute_error():
    import trackside

    with pytest.raises(AttributeError, match="no attribute 'Trackr'"):
        trackside.Trackr  # noqa: B018


def test_every_public_name_is_listed_before_it_is_loaded():
    import trackside

    assert set(trackside.__all__) <= set(dir(trackside))
