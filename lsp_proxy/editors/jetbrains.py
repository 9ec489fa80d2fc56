"""JetBrains IDEs through LSP4IJ: the servers that the person has defined there, and templates for those he has not.

LSP4IJ keeps its user-defined servers in one XML file per IDE; a new one is made in its dialog, from a template that can
be read from a folder. Servers that other plug-ins define have no command to change.
"""

import html
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codetrial.paths import data_dir
from lsp_proxy.editors.plan import Change, Plan, WholeFile, codetrial_command, read, unwrapped
from lsp_proxy.editors.servers import KNOWN, config_home, installed

__all__ = ["plan"]

FILE_NAME = "UserDefinedLanguageServerSettings.xml"

FILES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "basedpyright": (("*.py", "python"), ("*.pyi", "python")),
    "bash-language-server": (("*.sh", "shellscript"), ("*.bash", "shellscript")),
    "clangd": (("*.c", "c"), ("*.h", "c"), ("*.cc", "cpp"), ("*.cpp", "cpp"), ("*.cxx", "cpp"), ("*.hpp", "cpp")),
    "gopls": (("*.go", "go"), ("go.mod", "go.mod"), ("go.work", "go.work")),
    "jedi": (("*.py", "python"),),
    "pylsp": (("*.py", "python"),),
    "pyright": (("*.py", "python"), ("*.pyi", "python")),
    "rust-analyzer": (("*.rs", "rust"),),
    "ty": (("*.py", "python"), ("*.pyi", "python")),
    "typescript-language-server": (
        ("*.js", "javascript"),
        ("*.jsx", "javascriptreact"),
        ("*.ts", "typescript"),
        ("*.tsx", "typescriptreact"),
    ),
    "yaml-language-server": (("*.yaml", "yaml"), ("*.yml", "yaml")),
}
"""By server: file name patterns and the language id to send."""

_COMMAND = re.compile(r'(<option name="commandLine" value=")([^"]*)(")')
_WRAPPED = re.compile(
    r'(?P<ours>(?:"[^"]*(?:codetrial|codetrial\.cli|codetrial\.exe)"|\S*codetrial\S*) lsp .*?-- )(?P<rest>.+)',
    re.DOTALL,
)


def _line(words: list[str]) -> str:
    """A command line as LSP4IJ splits it: at spaces outside double quotes, with no other escapes."""
    return " ".join(f'"{word}"' if " " in word else word for word in words)


def _words(line: str) -> list[str]:
    return [word.replace('"', "") for word in re.findall(r'(?:"[^"]*"|[^ "])+', line)]


def _wrapped_line(line: str) -> str:
    before = _line([*codetrial_command(), "lsp", "--"])
    return f"{before} {_unwrapped_line(line) or line}"


def _unwrapped_line(line: str) -> str | None:
    found = _WRAPPED.search(line)
    return found["rest"] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLines:
    """The commands in one IDE's list of user-defined servers; the XML around them stays byte for byte."""

    path: Path

    def result(self) -> str | None:
        text = read(self.path)
        return (
            _COMMAND.sub(lambda found: _put(found, _wrapped_line(_text(found))), text)
            if _COMMAND.search(text)
            else None
        )

    def undone(self) -> str | None:
        return _COMMAND.sub(lambda found: _put(found, _unwrapped_line(_text(found))), read(self.path))

    def wrapped(self) -> list[list[str]]:
        """The commands in the file now that start behind us."""
        lines = [_words(_text(found)) for found in _COMMAND.finditer(read(self.path))]
        return [words for words in lines if unwrapped(words) is not None]


def _text(found: re.Match[str]) -> str:
    return html.unescape(found[2])


def _put(found: re.Match[str], line: str | None) -> str:
    if line is None or line == _text(found):
        return found[0]
    return found[1] + html.escape(line, quote=False).replace('"', "&quot;").replace("\n", "&#10;") + found[3]


def _template(name: str, command: list[str]) -> str:
    languages: dict[str, list[str]] = {}
    for pattern, language in FILES[name]:
        languages.setdefault(language, []).append(pattern)
    content = {
        "id": f"codetrial-{name}",
        "name": f"{name} (behind codetrial)",
        "programArgs": {"default": _line([*codetrial_command(), "lsp", "--", *command])},
        "fileTypeMappings": [
            {"fileType": {"patterns": patterns}, "languageId": language} for language, patterns in languages.items()
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def _settings_files() -> list[Path]:
    """One per IDE and version."""
    if sys.platform == "darwin":
        roots = [Path.home() / "Library" / "Application Support" / maker for maker in ("JetBrains", "Google")]
    else:
        roots = [config_home() / maker for maker in ("JetBrains", "Google")]
    return sorted(path for root in roots for path in root.glob(f"*/options/{FILE_NAME}"))


def plan() -> Plan:
    files = _settings_files()
    templates = data_dir() / "jetbrains"
    changes: list[Change] = [CommandLines(path=path) for path in files]
    for name in FILES:
        if (command := installed(KNOWN[name])) is not None:
            changes.append(WholeFile(path=templates / name / "template.json", content=_template(name, command)))
    advice = [
        "Close the IDE before, and start it again after: it writes its settings when it closes.",
        f"For a server that is not defined yet: `Languages & Frameworks > Language Servers > + > Import from custom "
        f"template...`, and choose a folder in {templates}. Keep only one server for a file type, or its list doubles.",
        "Suggestions appear in the text where LSP4IJ can show them there, in the completion list otherwise.",
    ]
    return Plan(editor="jetbrains", changes=tuple(changes), advice=tuple(advice))
