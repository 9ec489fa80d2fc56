"""A small repository with a real history, and folders of its own for each test."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import git
import pytest

from tests.codetrial.streaming import StreamingServer

AUTHOR = git.Actor("A Developer", "developer@example.org")
START = datetime(2025, 6, 2, 9, tzinfo=UTC)

Commit = Callable[[dict[str, str | bytes], str], str]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own folders."""
    monkeypatch.setenv("CODETRIAL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CODETRIAL_USER_CONFIG", str(tmp_path / "user" / "codetrial.toml"))


def committing(folder: Path) -> Commit:
    """Writes files and commits them, a day after the last commit."""
    git.Repo.init(folder, initial_branch="main").close()
    count = 0

    def make(files: dict[str, str | bytes], message: str = "Change") -> str:
        nonlocal count
        when = START + timedelta(days=count)
        count += 1
        with git.Repo(folder) as repo:
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
            repo.git.add("--all")
            made = repo.index.commit(message, author=AUTHOR, committer=AUTHOR, author_date=when, commit_date=when)
            return str(made.hexsha)

    return make


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def commit(repository: Path) -> Commit:
    return committing(repository)


@pytest.fixture(scope="session")
def busy_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty commits, each of which adds a function and changes one. Only read."""
    folder = tmp_path_factory.mktemp("busy") / "shop"
    commit = committing(folder)
    text = "TAX = 0.2\n"
    commit({"shop.py": text, "README.md": "# Shop\n"}, "Begin")
    for number in range(40):
        text += f"\n\ndef price_{number}(item, count):\n    total = item.price * count\n    return total + {number}\n"
        text = text.replace(f"return total + {number - 2}\n", f"return round(total * TAX) + {number - 2}\n")
        commit({"shop.py": text}, f"Add price {number}")
    return folder


@pytest.fixture
async def server() -> AsyncIterator[StreamingServer]:
    async with StreamingServer() as running:
        yield running
