"""The text that language models learn from: frozen, split so that nothing is learnt by heart, cut into windows."""

import numpy as np
import pytest

from trackside.workloads import text


@pytest.fixture(scope="module")
def whole() -> text.Text:
    return text.load_text()


def read(tokens: text.Tokens, alphabet: str) -> str:
    return "".join(alphabet[token] for token in tokens)


def test_the_text_is_english_prose_in_ascii(whole):
    assert len(whole.training) + len(whole.validation) == text.CHARACTERS
    assert len(whole.alphabet) == text.SYMBOLS
    assert whole.alphabet.isascii()
    assert read(whole.training[:22], whole.alphabet) == 'The "assert" statement'
    assert whole.training.dtype == whole.validation.dtype == np.int64


def test_every_character_that_is_held_out_occurs_in_training(whole):
    assert set(whole.validation.tolist()) < set(whole.training.tolist())


def test_no_passage_that_is_held_out_occurs_in_training(whole):
    training, validation = (read(tokens, whole.alphabet) for tokens in whole[:2])
    passages = {training[start : start + 96] for start in range(len(training) - 95)}
    assert not any(validation[start : start + 96] in passages for start in range(len(validation) - 95))


def test_the_licence_lies_beside_the_text():
    licence = (text.PATH.parent / "LICENSE.txt").read_text()
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in licence
    assert text.SHA256 in licence


def test_a_changed_text_is_refused(tmp_path, monkeypatch):
    changed = tmp_path / text.PATH.name
    changed.write_bytes(text.PATH.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr(text, "PATH", changed)
    with pytest.raises(text.TextError, match=r"git checkout python_topics\.txt"):
        text.load_text()


@pytest.mark.parametrize(("length", "count"), [(4, 2), (3, 3), (9, 1), (10, 0)])
def test_windows_follow_one_another_and_targets_are_one_ahead(length, count):
    inputs, targets = text.windows(np.arange(10), length)
    assert inputs.shape == targets.shape == (count, length)
    np.testing.assert_array_equal(inputs.ravel(), np.arange(count * length))
    np.testing.assert_array_equal(targets, inputs + 1)
