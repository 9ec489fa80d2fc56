"""The command `codetrial`: goes to the relay at once, or to the click application.

`codetrial lsp` stands between an editor and its language server, so it must not pay for a command line: it goes to
the relay before click is imported (docs/design/0001-two-processes.md).
"""

import sys
from importlib import import_module

__all__ = ["main"]


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["lsp"] and not _asks_for_help(arguments):
        sys.exit(import_module("lsp_proxy.relay.main").main(arguments[1:]))
    import_module("codetrial.app").run()


def _asks_for_help(arguments: list[str]) -> bool:
    """Only before `--`: what follows belongs to the language server."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--help" in own or "-h" in own


if __name__ == "__main__":
    main()
