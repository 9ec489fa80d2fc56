"""What stands in the editor's documents, kept from the changes that it announces.

A document is a list of lines, because typing then costs the same in a file of any size: about 2 us at 1,000 and at
100,000 lines, where one string costs 18 us and 4 ms. Lines end at `\\n`, `\\r\\n` and `\\r` only, as the protocol says;
`str.splitlines` also cuts at form feeds and U+2028, which would move every later edit to the wrong line.

A mirror never raises on what an editor sends. What cannot be right (a line that does not exist, a version that goes
back) makes the document unknown until its full text comes again: no text is better than a wrong one.

The evaluator keeps its own `Mirror`, fed with the same messages.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["ENCODINGS", "Document", "Edit", "Mirror", "Notebook", "split_lines"]

ENCODINGS = ("utf-8", "utf-16", "utf-32")

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")

_AT = ("line", "character")

Json = Mapping[str, Any]


class Edit(NamedTuple):
    """One change of a document's text, in code points: `text[start : start + removed_chars]` became `inserted`."""

    uri: str
    start: int
    removed_chars: int
    inserted: str
    version: int | None


class _ImpossibleError(Exception):
    """The editor's change does not fit the text that we hold."""


def split_lines(text: str) -> list[str]:
    """The lines of a text with their ends; the last one never has an end, and may be empty.

    >>> split_lines("a\\r\\nb\\x0cc\\n")
    ['a\\r\\n', 'b\\x0cc\\n', '']
    """
    if "\r" in text and text.count("\r") != text.count("\r\n"):
        lines = _LINE.findall(text)
        if not lines or lines[-1][-1] in "\r\n":
            lines.append("")
        return lines
    # Every \r has its \n: cutting at \n alone is right and ten times faster.
    *ended, last = text.split("\n")
    lines = [line + "\n" for line in ended]
    lines.append(last)
    return lines


class Document:
    """One open text document.

    `is_known` is False while the text cannot be trusted; every reader must look at it first.
    Edits are told only if `tracks_edits`: offsets from the document's start cost time that the relay need not spend.
    """

    __slots__ = (
        "_encoding",
        "_offset",
        "_offset_line",
        "_tracks_edits",
        "is_known",
        "language_id",
        "lines",
        "uri",
        "version",
    )

    def __init__(
        self,
        uri: str,
        text: str | None,
        *,
        language_id: str = "",
        version: int | None = None,
        encoding: str = "utf-16",
        tracks_edits: bool = True,
    ) -> None:
        """A document as it was opened; `text` None makes one that is unknown from the start."""
        self.uri = uri
        self.language_id = language_id
        self.version = version
        self.is_known = text is not None
        self.lines: list[str] = split_lines(_paired(text or ""))
        self._encoding = encoding
        self._tracks_edits = tracks_edits
        # Where a line starts, remembered for the last place asked for: typing stays near it.
        self._offset_line = 0
        self._offset = 0

    def text(self) -> str:
        """The whole text. Linear in its size: not for every keystroke."""
        return "".join(self.lines)

    def line(self, number: int) -> str:
        """A line without its end; empty beyond the last one."""
        return self.lines[number].rstrip("\r\n") if 0 <= number < len(self.lines) else ""

    def offset_at(self, line: int, character: int) -> int:
        """Code points before a position given in the session's encoding; beyond the end means the end."""
        line, index = self._place(line, character)
        return self._line_offset(line) + index

    def position_at(self, offset: int) -> tuple[int, int]:
        """Line and character, in the session's encoding, of an offset in code points; clamped to the text."""
        line, start = self._offset_line, self._offset
        if offset < start:
            line, start = 0, 0
        while line < len(self.lines) - 1 and offset - start >= len(self.lines[line]):
            start += len(self.lines[line])
            line += 1
        return line, self._character(self.lines[line], max(0, offset - start))

    def around(self, line: int, character: int, before_chars: int, after_chars: int) -> tuple[str, str]:
        """At most so many characters before and after a position, without joining the whole text."""
        line, index = self._place(line, character)
        before, after = [self.lines[line][:index]], [self.lines[line][index:]]
        count, number = index, line
        while count < before_chars and number > 0:
            number -= 1
            before.append(self.lines[number])
            count += len(self.lines[number])
        count, number = len(after[0]), line
        while count < after_chars and number < len(self.lines) - 1:
            number += 1
            after.append(self.lines[number])
            count += len(self.lines[number])
        head = "".join(reversed(before))
        return head[max(0, len(head) - before_chars) :], "".join(after)[:after_chars]

    def change(self, changes: Sequence[Json], version: int | None) -> list[Edit]:
        """Apply the `contentChanges` of one notification, in order; afterwards `is_known` says whether they fitted."""
        if isinstance(version, int) and isinstance(self.version, int) and version < self.version:
            self.is_known = False
        self.version = version
        edits: list[Edit] = []
        for change in changes:
            try:
                if (span := change.get("range")) is None:
                    edits += self._replace_all(change["text"])
                elif self.is_known:
                    edits += self._replace(span, change["text"])
            except (_ImpossibleError, KeyError, TypeError, AttributeError, ValueError):
                self.is_known = False
        return edits

    def _replace_all(self, text: str) -> list[Edit]:
        text = _paired(text)
        old = self.text() if self._tracks_edits and self.is_known else None
        self.lines = split_lines(text)
        self._offset_line = self._offset = 0
        self.is_known = True
        if old is None or old == text:
            return []
        # Editors that always send the whole text still change one place: find it, or every anchor would be lost.
        start = _common_length(len(old), len(text), lambda n: old[:n] == text[:n])
        tail = _common_length(
            len(old) - start, len(text) - start, lambda n: old[len(old) - n :] == text[len(text) - n :]
        )
        return [Edit(self.uri, start, len(old) - start - tail, text[start : len(text) - tail], self.version)]

    def _replace(self, span: Json, inserted: str) -> list[Edit]:
        if not isinstance(inserted, str):
            raise _ImpossibleError
        start, end = span["start"], span["end"]
        if start["line"] > len(self.lines) or min(*map(start.__getitem__, _AT), *map(end.__getitem__, _AT)) < 0:
            raise _ImpossibleError
        first, first_index = self._place(start["line"], start["character"])
        last, last_index = self._place(end["line"], end["character"])
        if (last, last_index) < (first, first_index):
            raise _ImpossibleError
        lines = self.lines
        edit: tuple[int, int, str] | None = None
        if self._tracks_edits:
            removed = sum(map(len, lines[first:last])) + last_index - first_index
            edit = (self._line_offset(first) + first_index, removed, inserted)
        new = lines[first][:first_index] + inserted + lines[last][last_index:]
        if not new.isascii() and (paired := _paired(new)) != new:
            # Two halves of one character met. The edit is told as whole lines: its own offsets count the halves.
            if edit is not None:
                edit = (self._line_offset(first), sum(map(len, lines[first : last + 1])), paired)
            new = paired
        if first > 0 and new[:1] == "\n" and lines[first - 1].endswith("\r"):
            first -= 1  # They are one line end now.
            new = lines[first] + new
        pieces = split_lines(new)
        if last < len(lines) - 1:
            pieces.pop()  # `new` ends with the line end of `last`; what split_lines sees after it is the next line.
        lines[first : last + 1] = pieces
        if self._offset_line > first:
            self._offset_line = self._offset = 0
        return [] if edit is None else [Edit(self.uri, *edit, self.version)]

    def _line_offset(self, line: int) -> int:
        """Code points before a line: counted from the last place asked for, so that typing is cheap anywhere."""
        if line >= self._offset_line:
            self._offset += sum(map(len, self.lines[self._offset_line : line]))
        elif line > self._offset_line // 2:
            self._offset -= sum(map(len, self.lines[line : self._offset_line]))
        else:
            self._offset = sum(map(len, self.lines[:line]))
        self._offset_line = line
        return self._offset

    def _place(self, line: int, character: int) -> tuple[int, int]:
        """Index of the line and of the code point in it. Beyond a line's end means its end, as the protocol says."""
        line, character = max(0, line), max(0, character)
        if line >= len(self.lines):
            line = len(self.lines) - 1  # Editors write "to the end" as a line that does not exist.
            return line, len(self.lines[line])
        content = self.lines[line].rstrip("\r\n")
        if content.isascii() or self._encoding == "utf-32":
            return line, min(character, len(content))
        if self._encoding == "utf-8":
            return line, _index_in_utf8(content, character)
        return line, _index_in_utf16(content, character)

    def _character(self, line: str, index: int) -> int:
        content = line[:index].rstrip("\r\n")
        if content.isascii() or self._encoding == "utf-32":
            return len(content)
        if self._encoding == "utf-8":
            return len(content.encode("utf-8", "surrogatepass"))
        return len(content.encode("utf-16-le", "surrogatepass")) // 2


class Notebook(NamedTuple):
    """An open notebook; its cells' texts are documents of the mirror."""

    document: dict[str, Any]
    """The protocol's NotebookDocument, kept up to date: enough to open the notebook again."""

    def cell_uris(self) -> list[str]:
        return [cell["document"] for cell in self.document.get("cells", [])]


class Mirror:
    """All open documents of one session."""

    def __init__(self, encoding: str = "utf-16", *, tracks_edits: bool = True) -> None:
        self.documents: dict[str, Document] = {}
        self.notebooks: dict[str, Notebook] = {}
        self._encoding = encoding
        self._tracks_edits = tracks_edits
        self._handlers: dict[str, Callable[[Any], list[Edit]]] = {
            "textDocument/didOpen": self._did_open,
            "textDocument/didChange": self._did_change,
            "textDocument/didClose": self._did_close,
            "notebookDocument/didOpen": self._notebook_did_open,
            "notebookDocument/didChange": self._notebook_did_change,
            "notebookDocument/didClose": self._notebook_did_close,
        }

    @property
    def encoding(self) -> str:
        """In what a position's `character` counts: the server's answer to `initialize` decides."""
        return self._encoding

    @encoding.setter
    def encoding(self, encoding: str) -> None:
        self._encoding = encoding
        for document in self.documents.values():
            document._encoding = encoding

    def apply(self, method: str, params: Any) -> list[Edit]:
        """Take in one notification; what is not about documents or has the wrong shape changes nothing."""
        handler = self._handlers.get(method)
        if handler is None:
            return []
        try:
            return handler(params)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError):
            return []

    def document(self, uri: str) -> Document | None:
        """An open document whose text is known, or None."""
        document = self.documents.get(uri)
        return document if document is not None and document.is_known else None

    def _open(self, item: Json) -> None:
        text = item["text"]
        self.documents[item["uri"]] = Document(
            item["uri"],
            text if isinstance(text, str) else None,
            language_id=str(item.get("languageId", "")),
            version=item.get("version"),
            encoding=self._encoding,
            tracks_edits=self._tracks_edits,
        )

    def _change(self, identifier: Json, changes: Sequence[Json]) -> list[Edit]:
        uri = identifier["uri"]
        document = self.documents.get(uri)
        if document is None:
            document = Document(uri, None, encoding=self._encoding, tracks_edits=self._tracks_edits)
            self.documents[uri] = document
        return document.change(changes, identifier.get("version"))

    def _did_open(self, params: Json) -> list[Edit]:
        self._open(params["textDocument"])
        return []

    def _did_change(self, params: Json) -> list[Edit]:
        return self._change(params["textDocument"], params["contentChanges"])

    def _did_close(self, params: Json) -> list[Edit]:
        self.documents.pop(params["textDocument"]["uri"], None)
        return []

    def _notebook_did_open(self, params: Json) -> list[Edit]:
        notebook = dict(params["notebookDocument"])
        self.notebooks[notebook["uri"]] = Notebook(notebook)
        for cell in params.get("cellTextDocuments", ()):
            self._open(cell)
        return []

    def _notebook_did_change(self, params: Json) -> list[Edit]:
        identifier, change = params["notebookDocument"], params["change"]
        notebook = self.notebooks.get(identifier["uri"])
        if notebook is not None:
            notebook.document["version"] = identifier.get("version")
            if "metadata" in change:
                notebook.document["metadata"] = change["metadata"]
        cells = change.get("cells") or {}
        structure = cells.get("structure") or {}
        if notebook is not None and (array := structure.get("array")):
            listed = list(notebook.document.get("cells", ()))
            listed[array["start"] : array["start"] + array["deleteCount"]] = array.get("cells") or []
            notebook.document["cells"] = listed
        for item in structure.get("didOpen") or ():
            self._open(item)
        for item in structure.get("didClose") or ():
            self.documents.pop(item["uri"], None)
        if notebook is not None and (data := cells.get("data")):
            by_uri = {cell["document"]: cell for cell in data}
            notebook.document["cells"] = [by_uri.get(c["document"], c) for c in notebook.document.get("cells", ())]
        edits: list[Edit] = []
        for content in cells.get("textContent") or ():
            edits += self._change(content["document"], content["changes"])
        return edits

    def _notebook_did_close(self, params: Json) -> list[Edit]:
        notebook = self.notebooks.pop(params["notebookDocument"]["uri"], None)
        listed = [cell["uri"] for cell in params.get("cellTextDocuments", ())]
        for uri in listed or (notebook.cell_uris() if notebook else ()):
            self.documents.pop(uri, None)
        return []


def _index_in_utf16(content: str, units: int) -> int:
    encoded = content.encode("utf-16-le", "surrogatepass")
    cut = min(2 * units, len(encoded))
    is_in_pair = 0 < cut < len(encoded) and encoded[cut - 1] & 0xFC == 0xD8 and encoded[cut + 1] & 0xFC == 0xDC
    return len(encoded[: cut - 2 if is_in_pair else cut].decode("utf-16-le", "surrogatepass"))


def _index_in_utf8(content: str, units: int) -> int:
    encoded = content.encode("utf-8", "surrogatepass")
    cut = min(units, len(encoded))
    while 0 < cut < len(encoded) and encoded[cut] & 0xC0 == 0x80:
        cut -= 1
    return len(encoded[:cut].decode("utf-8", "surrogatepass"))


def _paired(text: str) -> str:
    """The text with neighbouring halves of a surrogate pair joined: editors may send them in two changes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def _common_length(left: int, right: int, is_equal: Callable[[int], bool]) -> int:
    """The largest n up to both lengths for which `is_equal(n)`: halving over slices beats a loop over characters."""
    low, high = 0, min(left, right)
    while low < high:
        middle = (low + high + 1) // 2
        if is_equal(middle):
            low = middle
        else:
            high = middle - 1
    return low
