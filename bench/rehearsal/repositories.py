"""Two real projects, their histories built from their releases as `codetrial demo` builds its own."""

from pathlib import Path

from rich.console import Console

from analysis.history import Release, build_from_releases
from codetrial.paths import cache_dir
from lsp_proxy.demo import RELEASES

__all__ = ["build_all"]

OTHER = tuple(
    Release("click", version)
    for version in ("8.0.0", "8.0.1", "8.0.2", "8.0.3", "8.0.4", "8.1.0", "8.1.1", "8.1.3", "8.1.4", "8.1.7", "8.1.8")
)
"""BSD-3-Clause, pure Python, and between two of its releases a few functions changed."""


def build_all(console: Console) -> list[Path]:
    """Build what is not there yet; both are kept in the cache."""
    return [_build(releases, console) for releases in (RELEASES, OTHER)]


def _build(releases: tuple[Release, ...], console: Console) -> Path:
    folder = cache_dir() / "demo" / releases[0].package
    if not (folder / ".git").exists():
        with console.status(f"Building a repository from the releases of {releases[0].package}"):
            build_from_releases(folder, releases)
    return folder
