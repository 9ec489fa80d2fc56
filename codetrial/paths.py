"""Where codetrial keeps things on each platform."""

import os
from pathlib import Path

from platformdirs import PlatformDirs

__all__ = ["cache_dir", "config_file", "data_dir", "default_database", "runtime_dir"]

_dirs = PlatformDirs("codetrial", appauthor=False)


def data_dir() -> Path:
    """What must last. `CODETRIAL_DATA_DIR` overrides the platform's place."""
    override = os.environ.get("CODETRIAL_DATA_DIR")
    return Path(override) if override else _dirs.user_data_path


def cache_dir() -> Path:
    """What can be fetched or built again (model weights). `CODETRIAL_CACHE_DIR` overrides."""
    override = os.environ.get("CODETRIAL_CACHE_DIR")
    return Path(override) if override else _dirs.user_cache_path


def runtime_dir() -> Path:
    """What lives as long as the running processes: their state files."""
    override = os.environ.get("CODETRIAL_RUNTIME_DIR")
    return Path(override) if override else data_dir() / "run"


def config_file() -> Path:
    """The user's own `codetrial.toml`; a project's file lies over it."""
    override = os.environ.get("CODETRIAL_USER_CONFIG")
    return Path(override) if override else _dirs.user_config_path / "codetrial.toml"


def default_database() -> Path:
    return data_dir() / "codetrial.db"
