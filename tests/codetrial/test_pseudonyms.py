"""Pseudonyms are stored data: a database that was begun with one version must know the same people in the next."""

from hashlib import sha256

import pytest

from codetrial.pseudonyms import (
    pseudonym_of_author,
    pseudonym_of_developer,
    pseudonym_of_document,
    pseudonym_of_repository,
    pseudonym_of_reviewed_repository,
)


def test_the_formulas_are_those_that_databases_were_written_with() -> None:
    assert pseudonym_of_developer("5eed", "person@example.com") == sha256(b"5eed/person@example.com").hexdigest()[:16]
    assert pseudonym_of_author("5eed", "a-login") == sha256(b"5eed\0a-login").hexdigest()[:16]
    assert pseudonym_of_document("5eed", "file:///a.py") == sha256(b"5eed/file:///a.py").hexdigest()[:32]
    assert pseudonym_of_repository("https://example.com/r") == sha256(b"https://example.com/r").hexdigest()[:32]
    assert pseudonym_of_reviewed_repository("5eed", "acme/r") == sha256(b"5eed\0acme/r").hexdigest()[:16]


@pytest.mark.parametrize("uri", ["file:///a,%20b%3A1.py", "file:///a%2C%20b:1.py", "file:///a,%20b:1.py"])
def test_a_file_is_the_same_however_an_editor_encodes_its_name(uri: str) -> None:
    assert pseudonym_of_document("5eed", uri) == pseudonym_of_document("5eed", "file:///a, b:1.py")


def test_another_trial_makes_another_pseudonym_of_the_same_person() -> None:
    assert pseudonym_of_developer("5eed", "person@example.com") != pseudonym_of_developer("5eee", "person@example.com")


def test_a_name_that_is_no_valid_text_has_a_pseudonym_all_the_same() -> None:
    assert len(pseudonym_of_document("5eed", "file:///\udcff.py")) == 32
