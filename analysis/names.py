"""The names that a piece of code uses: identifiers, without keywords, comments, strings and numbers.

A grammar tells keywords from names: the first are its unnamed leaves. Without a grammar every word counts, but in
COBOL, where strings, comments and the words of the language itself are known by sight.
"""

import re

from analysis.syntax import is_prose, is_supported, leaves_of

__all__ = ["caseless", "names", "words"]

_CASELESS = frozenset({"ada", "cobol", "fortran", "pascal", "sql"})
_WORD = re.compile(r"\w+")
_NAME = re.compile(r"[^\W\d]\w*")
_NO_NAMES = frozenset({"mutable_specifier", "predefined_type", "primitive_type"})
"""Named leaves that are words of the language."""
_COBOL_WORD = re.compile(r"[A-Z0-9][\w-]*", re.IGNORECASE)
_COBOL_PROSE = re.compile(r"\"[^\"\n]*\"?|'[^'\n]*'?|\*>[^\n]*|^.{6}[*/][^\n]*", re.MULTILINE)
_COBOL_KEYWORDS = """
    accept add after all also and are area at author before binary by call cancel close comp comp-1 comp-2
    comp-3 compute configuration content continue copy corresponding data delete delimited delimiter depending
    display divide division down else end end-add end-call end-compute end-delete end-divide end-evaluate end-if
    end-multiply end-perform end-read end-return end-rewrite end-search end-start end-string end-subtract
    end-unstring end-write environment equal error evaluate exception exit extend false fd file file-control
    filler from function giving go goback greater high-value high-values i-o identification if in index indexed
    initialize input input-output inspect into invalid is key leading less line lines linkage local-storage
    low-value low-values merge mode move multiply negative next no not numeric object occurs of off on open or
    organization other output overflow packed-decimal paragraph perform pic picture pointer positive procedure
    program program-id quote quotes read record redefines reference release remainder replacing return returning
    rewrite rounded run search section select sentence sequential set size sort source space spaces start status
    stop string subtract tallying test than then through thru times to trailing true unstring until up upon
    usage using value values varying when with working-storage write zero zeroes zeros
"""
_KEYWORDS_OF_COBOL = frozenset(_COBOL_KEYWORDS.split())


def caseless(text: str, language: str) -> str:
    """The text as names are compared: in small letters where the language does not tell them apart."""
    return text.casefold() if language in _CASELESS else text


def words(text: str, language: str) -> set[str]:
    """Every word of a text, those of its comments and strings too: what may be a name's other occurrence."""
    return set((_COBOL_WORD if language == "cobol" else _WORD).findall(caseless(text, language)))


def names(text: str, language: str) -> set[str]:
    """The names in a piece of code."""
    leaves = leaves_of(text, language) if is_supported(language) else None
    if leaves is not None:
        # `this`, `true` and `None` are named leaves in some grammars, and always called what they say.
        found = {
            leaf.text
            for leaf in leaves
            if leaf.is_named
            and leaf.type not in _NO_NAMES
            and not is_prose(leaf.type, leaf.text)
            and leaf.type.casefold() != leaf.text.casefold()
        }
    elif language == "cobol":
        found = words(_COBOL_PROSE.sub(" ", text), language) - _KEYWORDS_OF_COBOL
        return {name for name in found if not name.replace("-", "").isdigit()}
    else:
        found = set(_WORD.findall(text))
    return {caseless(name, language) for name in found if _NAME.fullmatch(name)}
