"""Coding tasks: the team's own, one TOML file each, or imported from JSON lines of public benchmarks.

A task is a piece of code with a hole, and a command that says whether the hole was filled well. Chat models are asked
to fill it in the same way as completion models: the prompt of both arms is the same text.
"""

import base64
import binascii
import hashlib
import json
import shlex
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from analysis.syntax import language_of
from codetrial.config import nearest
from codetrial.errors import EvidenceError

__all__ = ["Problem", "load_problems", "solution_text"]

TIME_LIMIT_S = 20.0
_KEYS = ("prompt", "suffix", "path", "language", "files", "check", "time_limit_s", "source", "public_since")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One coding task."""

    name: str
    prompt: str
    """The code up to the hole."""
    suffix: str = ""
    path: str = "solution.py"
    language: str = "python"
    files: Mapping[str, str] = field(default_factory=dict)
    """What else lies in the folder, by path: data, tests, the rest of the program."""
    check: tuple[str, ...] = ()
    time_limit_s: float = TIME_LIMIT_S
    source: str | None = None
    """The benchmark it comes from; None for the team's own."""
    public_since: datetime | None = None
    """Models trained after that may have seen it, and its solution."""

    @property
    def digest(self) -> str:
        """Of everything that could change the outcome."""
        content = [self.prompt, self.suffix, self.path, self.language, dict(self.files), list(self.check)]
        canonical = json.dumps([*content, self.time_limit_s], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8", "replace")).hexdigest()

    def contamination(self, cutoff: datetime | None) -> str:
        """What is known about whether a model with this training cut-off can have seen it."""
        if self.source is None:
            return "own"
        if self.public_since is None or cutoff is None:
            return "public, may be known by heart"
        when = f"public since {self.public_since:%Y-%m-%d}"
        return f"{when}, after the cut-off" if self.public_since > cutoff else f"{when}, may be known by heart"


def solution_text(problem: Problem, answer: str) -> str:
    """The file with the hole filled. A body ends where its function does, whatever the model went on to write."""
    text = answer.replace("\r\n", "\n")
    lines = text.split("\n")
    at_line_start = not problem.prompt or problem.prompt.endswith("\n")
    first = next((line for line in lines if line.strip()), "")
    if at_line_start and first[:1].isspace():
        inside = [number for number, line in enumerate(lines) if line.strip() and not line[:1].isspace()]
        text = "\n".join(lines[: inside[0]]) if inside else text
    return problem.prompt + text + problem.suffix


def load_problems(place: Path) -> list[Problem]:
    """The tasks of a folder of TOML files, of one TOML file, or of a file of JSON lines.

    Raises:
        EvidenceError: there are none, or one cannot be used; names the file and the mend.
    """
    if place.is_dir():
        found = [_from_toml(path) for path in sorted(place.glob("*.toml")) if path.name != "published.toml"]
        for path in sorted(place.glob("*.jsonl")):
            found += _from_lines(path)
    elif place.suffix == ".jsonl":
        found = list(_from_lines(place))
    elif place.is_file():
        found = [_from_toml(place)]
    else:
        raise EvidenceError(f"There is no folder or file {place}.")
    if not found:
        raise EvidenceError(f"{place} holds no task: write one TOML file each, with `prompt` and `check`.")
    names = [problem.name for problem in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise EvidenceError(f"{place}: several tasks are named {twice[0]!r}; results are kept by name.")
    return found


def _from_toml(path: Path) -> Problem:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise EvidenceError(f"{path} cannot be read as TOML: {fault}.") from fault
    for key in content:
        if key not in _KEYS:
            raise EvidenceError(f"{path} has an unknown key {key!r}.{nearest(key, _KEYS)}")
    for key in ("prompt", "check"):
        if not content.get(key):
            raise EvidenceError(f"{path} needs `{key}`.")
    check = content["check"]
    name = str(content.get("path", "solution.py"))
    since = content.get("public_since")
    try:
        problem = Problem(
            name=path.stem,
            prompt=str(content["prompt"]),
            suffix=str(content.get("suffix", "")),
            path=name,
            language=language_of(name, content.get("language")),
            files={str(key): str(value) for key, value in content.get("files", {}).items()},
            check=tuple(shlex.split(check) if isinstance(check, str) else map(str, check)),
            time_limit_s=float(content.get("time_limit_s", TIME_LIMIT_S)),
            source=content.get("source"),
            public_since=None if since is None else datetime.fromisoformat(str(since)).replace(tzinfo=UTC),
        )
    except (AttributeError, TypeError, ValueError) as fault:
        raise EvidenceError(f"{path} cannot be used: {fault}.") from fault
    for inside in (problem.path, *problem.files):
        if PurePosixPath(inside).is_absolute() or ".." in PurePosixPath(inside).parts:
            raise EvidenceError(f"{path}: {inside!r} would lie outside the task's folder.")
    return problem


def _from_lines(path: Path) -> Iterator[Problem]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise EvidenceError(f"{path} cannot be read: {fault}.") from fault
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            kind = next(kind for needed, kind in _SHAPES if all(key in content for key in needed))
            yield kind(content)
        except StopIteration:
            shapes = "HumanEval (prompt, test, entry_point), MBPP (text, test_list) or LiveCodeBench (question_content)"
            raise EvidenceError(f"{path}, line {number}: not a task in the form of {shapes}.") from None
        except (KeyError, TypeError, ValueError) as fault:
            raise EvidenceError(f"{path}, line {number}: {fault}.") from fault


def _human_eval(content: Mapping[str, Any]) -> Problem:
    check = f"from solution import *\nfrom solution import {content['entry_point']}\n\n{content['test']}\n\n"
    return Problem(
        name=str(content.get("task_id", content["entry_point"])),
        prompt=str(content["prompt"]),
        files={"check.py": f"{check}check({content['entry_point']})\n"},
        check=("python", "check.py"),
        source="HumanEval",
        public_since=datetime(2021, 7, 7, tzinfo=UTC),
    )


def _mbpp(content: Mapping[str, Any]) -> Problem:
    tests = [str(test) for test in content["test_list"]]
    asked = [str(content["text"]), *tests]
    setup = str(content.get("test_setup_code") or "")
    return Problem(
        name=f"MBPP/{content.get('task_id', hashlib.sha256(asked[0].encode()).hexdigest()[:8])}",
        prompt='"""\n' + "\n".join(asked).replace('"""', "'''") + '\n"""\n',
        files={"check.py": "\n".join([setup, "from solution import *", *tests, ""])},
        check=("python", "check.py"),
        source="MBPP",
        public_since=datetime(2021, 8, 16, tzinfo=UTC),
    )


def _live_code_bench(content: Mapping[str, Any]) -> Problem:
    """Public and, where they are plain or compressed JSON, private tests; both kinds of test the benchmark has."""
    cases = [*_cases(content.get("public_test_cases")), *_cases(content.get("private_test_cases"))]
    if not cases:
        raise ValueError("no test cases that can be read (pickled ones are never opened)")
    metadata = content.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = json.loads(metadata)
    question = "\n".join(f"# {line}".rstrip() for line in str(content["question_content"]).split("\n"))
    starter = str(content.get("starter_code") or "")
    since = content.get("contest_date")
    return Problem(
        name=f"LiveCodeBench/{content.get('question_id', content.get('question_title', 'unnamed'))}",
        prompt=f"{question}\n\n{starter}" if starter else f"{question}\n\n",
        files={
            "cases.json": json.dumps(cases),
            "check.py": _LIVE_CHECK.replace("@NAME@", repr(metadata.get("func_name"))),
        },
        check=("python", "check.py"),
        time_limit_s=max(TIME_LIMIT_S, 6.0 * len(cases)),
        source="LiveCodeBench",
        public_since=None if since is None else datetime.fromisoformat(str(since)).replace(tzinfo=UTC),
    )


def _cases(content: Any) -> list[Mapping[str, Any]]:
    if not content:
        return []
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError:
            try:
                content = json.loads(zlib.decompress(base64.b64decode(content, validate=True)))
            except (binascii.Error, zlib.error, ValueError, UnicodeDecodeError):
                return []
    return [case for case in content if isinstance(case, Mapping) and "input" in case and "output" in case]


_LIVE_CHECK = """\
import json, subprocess, sys
FUNCTION = @NAME@
for number, case in enumerate(json.load(open("cases.json"))):
    if case.get("testtype") == "functional":
        import solution
        holder = solution.Solution() if hasattr(solution, "Solution") else solution
        arguments = [json.loads(line) for line in case["input"].split("\\n") if line.strip()]
        got, wanted = getattr(holder, FUNCTION)(*arguments), json.loads(case["output"])
        got = list(got) if isinstance(got, tuple) else got
    else:
        run = subprocess.run([sys.executable, "solution.py"], input=case["input"], capture_output=True, text=True)
        got, wanted = run.stdout.split(), case["output"].split()
    assert got == wanted, f"case {number}: {got!r} is not {wanted!r}"
"""

_SHAPES: Sequence[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Problem]]] = (
    (("prompt", "test", "entry_point"), _human_eval),
    (("text", "test_list"), _mbpp),
    (("question_content",), _live_code_bench),
)
