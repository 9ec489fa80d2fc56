"""A completion request as it arrived, and the answers that an editor understands."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pygls.uris import to_fs_path

from analysis.places import surroundings
from analysis.syntax import language_of
from codetrial.clock import utc_text
from codetrial.pseudonyms import pseudonym_of_document
from codetrial.records import Disposition, Door, Place, Surface, Task
from lsp_proxy.evaluator.documents import View
from lsp_proxy.evaluator.edits import Point
from lsp_proxy.evaluator.recorder import Recorder

__all__ = ["Request", "completion_list", "inline_list", "one_line_list", "read_request", "relative_path"]

LABEL_CHARS = 60
_WORD_BEFORE = re.compile(r"\w*$")
_SNIPPET_SPECIAL = re.compile(r"[\\$}]")
_TRIGGERS = {1: "invoked", 2: "automatic"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, with what the document said at that moment."""

    id: str
    """The task's id."""
    wire_id: int | str
    surface: Surface
    """What was asked for: INLINE or MENU."""
    uri: str
    document: str
    """Hash of the URI."""
    version: int | None
    path: str
    """Relative to the root; absolute if it lies elsewhere."""
    language: str
    line: int
    character: int
    at: Point
    prefix: str
    suffix: str
    context: str
    """The cursor's line before it."""
    trigger: str | None
    selected: Mapping[str, Any] | None
    """What the editor's own menu has selected: an inline item must extend it, or is discarded."""
    requested_ns: int
    typed_chars: int | None = None
    """Typed in the document since its request before this one."""

    def task(
        self,
        recorder: Recorder,
        *,
        trial: str,
        session: str,
        assignment: str | None,
        disposition: Disposition,
        routed_ns: int | None = None,
    ) -> Task:
        """The request as a record, its texts stored as the configuration allows."""
        is_routed = disposition is Disposition.ROUTED
        is_answered = is_routed or disposition is Disposition.REUSED
        # Parsing costs more than all the rest of a keystroke, and most requests are overtaken by the next.
        around = surroundings(self.prefix, self.suffix, self.language) if is_answered else None
        return Task(
            id=self.id,
            trial=trial,
            session=session,
            assignment=assignment,
            door=Door.EDITOR,
            disposition=disposition,
            request_id=json.dumps(self.wire_id),
            document=self.document,
            document_version=self.version,
            language=self.language,
            place=around.place if around is not None else Place.UNKNOWN,
            trigger=self.trigger,
            line=self.line,
            character=self.character,
            # Only what was sent to the arms is worth keeping; a document excluded for privacy leaves nothing behind.
            prefix_hash=recorder.text(self.prefix) if is_routed else None,
            suffix_hash=recorder.text(self.suffix) if is_routed else None,
            prefix_chars=len(self.prefix),
            suffix_chars=len(self.suffix),
            requested_ns=self.requested_ns,
            requested_at=utc_text(),
            routed_ns=routed_ns,
            line_part=around.line_part if around is not None else None,
            enclosing=around.enclosing if around is not None else None,
            typed_chars=self.typed_chars,
        )


@lru_cache(maxsize=64)
def relative_path(uri: str, root: Path) -> str:
    """The document's path below the root with `/`, or the whole path if it lies elsewhere.

    A notebook's cell (`vscode-notebook-cell:/path/to/a.ipynb#W0s`) has its notebook's path: the rules of privacy are
    written for files.
    """
    path = to_fs_path(uri) if uri.startswith("file:") else unquote(urlsplit(uri).path)
    if not path or not path.startswith("/"):
        return path or uri  # A text without a file, as `untitled:Untitled-1`.
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return Path(path).as_posix()


def read_request(
    params: Mapping[str, Any],
    *,
    task: str,
    wire_id: int | str,
    surface: Surface,
    view: View,
    seed: str,
    root: Path,
    prefix_chars: int,
    suffix_chars: int,
    now_ns: int,
    typed_chars: int | None = None,
) -> Request | None:
    """Take a request in; None if its position is not in the document."""
    position = params["position"]
    line, character = position["line"], position["character"]
    at = view.point(line, character)
    if at is None:
        return None
    uri = params["textDocument"]["uri"]
    path = relative_path(uri, root)
    prefix, suffix = view.around(line, character, prefix_chars, suffix_chars)
    context = params.get("context") or {}
    trigger = context.get("triggerCharacter") or _TRIGGERS.get(context.get("triggerKind", 0))
    return Request(
        id=task,
        wire_id=wire_id,
        surface=surface,
        uri=uri,
        document=pseudonym_of_document(seed, uri),
        version=view.version,
        path=path,
        language=language_of(path, view.language_id),
        line=line,
        character=character,
        at=at,
        prefix=prefix,
        suffix=suffix,
        context=view.line(line)[: at.column],
        trigger=trigger,
        selected=context.get("selectedCompletionInfo"),
        requested_ns=now_ns,
        typed_chars=typed_chars,
    )


def units(text: str, encoding: str) -> int:
    """A text's length as positions count it."""
    if text.isascii() or encoding == "utf-32":
        return len(text)
    if encoding == "utf-8":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def inline_list(
    request: Request, text: str, *, token: str, command: str | None, encoding: str
) -> dict[str, Any] | None:
    """An InlineCompletionList with one item, or None if the editor would discard it."""
    here = {"line": request.line, "character": request.character}
    span, insert = {"start": here, "end": here}, text
    if request.selected is not None:
        span = request.selected["range"]
        typed = request.context[_code_points(request.context, span["start"]["character"], encoding) :]
        insert = typed + text
        if not insert.startswith(request.selected["text"]):
            return None
    # The relay says by the token what was delivered; a client without commands would leave no other place for it.
    item: dict[str, Any] = {"insertText": insert, "range": span, "data": {"codetrial": token}}
    if command is not None:
        item["command"] = _command(command, token)
    return {"items": [item]}


def completion_list(request: Request, text: str, *, token: str, command: str | None, encoding: str) -> dict[str, Any]:
    """A CompletionList with one item, which replaces the word before the cursor by itself and the suggestion."""
    found = _WORD_BEFORE.search(request.context)
    word = found[0] if found else ""
    start = request.character - units(word, encoding)
    first_line = (word + text.lstrip("\n")).partition("\n")[0]
    label = first_line.strip()
    item: dict[str, Any] = {
        "label": label if len(label) <= LABEL_CHARS else label[: LABEL_CHARS - 1] + "…",
        "kind": 1,
        "filterText": first_line,
        # Before the language server's own, which keeps its order: the same rank for both arms. Emacs's reader refuses a
        # whole answer that has a NUL in it.
        "sortText": "\u0001",
        "insertTextFormat": 1,
        "insertTextMode": 1,
        "commitCharacters": [],
        "textEdit": {
            "range": {
                "start": {"line": request.line, "character": start},
                "end": {"line": request.line, "character": request.character},
            },
            "newText": word + text,
        },
        "data": {"codetrial": token},
    }
    if command is not None:
        item["command"] = _command(command, token)
    return {"isIncomplete": False, "items": [item]}


def one_line_list(request: Request, text: str, *, token: str, command: str | None, encoding: str) -> dict[str, Any]:
    """The same for Neovim's own menu and a text of one line.

    Of a plain text edit that menu inserts what stands before the first blank (0.11). Of a snippet it inserts the label,
    and expands the snippet in its place if the person has switched that on: both come to the same text here.
    """
    made = completion_list(request, text, token=token, command=command, encoding=encoding)
    [item] = made["items"]
    whole = item["textEdit"]["newText"]
    item |= {"label": whole, "filterText": whole, "insertTextFormat": 2}
    item["textEdit"]["newText"] = _SNIPPET_SPECIAL.sub(r"\\\g<0>", whole)
    return made


def _command(name: str, token: str) -> dict[str, Any]:
    return {"title": "", "command": name, "arguments": [token]}


def _code_points(line: str, character: int, encoding: str) -> int:
    for index in range(len(line) + 1):
        if units(line[:index], encoding) >= character:
            return index
    return len(line)
