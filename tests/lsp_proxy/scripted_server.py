"""A real language server (pygls) that suggests what a file tells it to, for tests of the typist.

    python scripted_server.py AFTER.txt (right|wrong|half|none|error)

It knows the text that the document is about to become. `right` suggests the rest of the line, `half` that and a wrong
line after it. What it has understood of the document is written beside AFTER.txt at every save.
"""

import asyncio
import sys
from pathlib import Path

from lsprotocol import types
from pygls.exceptions import JsonRpcInternalError
from pygls.lsp.server import LanguageServer

AFTER = Path(sys.argv[1])
MODE = sys.argv[2]
COMMAND = "scripted.taken"

server = LanguageServer("scripted", "1", text_document_sync_kind=types.TextDocumentSyncKind.Incremental)


def suggestion(uri: str, position: types.Position) -> str | None:
    """The rest of the line that the text will have there."""
    document = server.workspace.get_text_document(uri)
    before = document.source[: document.offset_at_position(position)]
    after = AFTER.read_bytes().decode()
    if MODE == "error":
        raise JsonRpcInternalError("scripted to fail")
    if MODE == "none" or not after.startswith(before):
        return None
    rest = after[len(before) :].split("\n", 1)[0]
    if not rest:
        return None
    return {"right": rest, "wrong": "nonsense(" + rest, "half": f"{rest}\nnonsense()"}[MODE]


@server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
def inline(params: types.InlineCompletionParams) -> types.InlineCompletionList | None:
    text = suggestion(params.text_document.uri, params.position)
    if text is None:
        return None
    command = types.Command(title="", command=COMMAND, arguments=[text])
    return types.InlineCompletionList(items=[types.InlineCompletionItem(insert_text=text, command=command)])


@server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["."]))
def menu(params: types.CompletionParams) -> types.CompletionList:
    text = suggestion(params.text_document.uri, params.position)
    items = [types.CompletionItem(label="something_else"), types.CompletionItem(label="quite_another")]
    if text is not None:
        place = types.Range(params.position, params.position)
        items.append(types.CompletionItem(label=text, text_edit=types.TextEdit(place, text), data={"codetrial": "one"}))
    return types.CompletionList(is_incomplete=False, items=items)


@server.command(COMMAND)
def taken(text: str) -> None:
    with AFTER.with_suffix(".taken").open("a", encoding="utf-8") as out:
        out.write(f"{text}\n")


@server.feature(types.INITIALIZED)
async def ask_back(params: types.InitializedParams) -> None:
    """What servers ask editors for, before they do anything else."""
    await server.client_register_capability_async(
        types.RegistrationParams(
            [
                types.Registration(
                    "late",
                    types.TEXT_DOCUMENT_COMPLETION,
                    types.CompletionRegistrationOptions(trigger_characters=["@"]),
                )
            ]
        )
    )
    settings = await server.workspace_configuration_async(
        types.ConfigurationParams([types.ConfigurationItem(section="scripted")])
    )
    server.window_show_message(types.ShowMessageParams(types.MessageType.Info, f"settings: {settings[0]}"))


@server.feature(types.TEXT_DOCUMENT_DID_SAVE)
def saved(params: types.DidSaveTextDocumentParams) -> None:
    document = server.workspace.get_text_document(params.text_document.uri)
    AFTER.with_suffix(".seen").write_bytes(document.source.encode())


@server.feature("scripted/die")
async def die(params: object) -> None:
    await asyncio.sleep(0)
    sys.stdout.close()
    raise SystemExit(7)


if __name__ == "__main__":
    server.start_io()
