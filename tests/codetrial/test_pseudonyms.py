"""Pseudonyms are stored data: a database that was begun with one version must know the same people in the next."""

from hashlib import sha256

from codetrial.pseudonyms import (
    pseudonym_of_author,
    pseudonym_of_developer,
    pseudonym_of_document,
    pseudonym_of_repository,
    pseudonym_of_reviewed_repository,
)


def test_the_formulas_are_those_that_databases_were_written_with() -> None:
    assert pseudonym_of_developer("5eed", "anna@example.com") == sha256(b"5eed/anna@example.com").hexdigest()[:16]
    assert pseudonym_of_author("5eed", "octoanna") == sha256(b"5eed\0octoanna").hexdigest()[:16]
    assert pseudonym_of_document("5eed", "file:///a.py") == sha256(b"5eed/file:///a.py").hexdigest()[:32]
    assert pseudonym_of_repository("https://example.com/r") == sha256(b"https://example.com/r").hexdigest()[:32]
    assert pseudonym_of_reviewed_repository("5eed", "acme/r") == sha256(b"5eed\0acme/r").hexdigest()[:16]


def test_another_trial_makes_another_pseudonym_of_the_same_person() -> None:
    assert pseudonym_of_developer("5eed", "anna@example.com") != pseudonym_of_developer("5eee", "anna@example.com")


def test_a_name_that_is_no_valid_text_has_a_pseudonym_all_the_same() -> None:
    assert len(pseudonym_of_document("5eed", "file:///\udcff.py")) == 32
