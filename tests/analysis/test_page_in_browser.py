"""The page in a real headless Chromium: it renders, complains about nothing, asks for nothing, and fits any width."""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analysis.report import make, write_html
from analysis.source import SqliteSource
from tests.analysis.synthetic import Plan, build

pytestmark = pytest.mark.slow

CHROMIUM_TIME_LIMIT_S = 90.0


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    source = SqliteSource(build(folder / "codetrial.db"))
    write_html(make(source, now=Plan().end), folder / "report.html")
    source.close()
    return folder / "report.html"


def chromium(page: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    command = [
        *(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder / 'profile'}", f"--log-net-log={folder / 'net.json'}"),
        *arguments,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=CHROMIUM_TIME_LIMIT_S)


def urls_asked_for(folder: Path) -> set[str]:
    log: dict[str, Any] = json.loads((folder / "net.json").read_text())
    found = {str(event.get("params", {}).get("url", "")) for event in log["events"]}
    return {url for url in found if url.startswith(("http:", "https:", "ws:", "wss:"))}


def test_the_page_renders_without_complaint_or_request(page: Path, tmp_path: Path) -> None:
    done = chromium(page, tmp_path, "--dump-dom")
    assert done.stdout.count('<svg role="img"') == 4
    assert "Not yet: codestral-2508 minus qwen2.5-coder-7b" in done.stdout
    assert "CONSOLE" not in done.stderr
    # Chromium itself may look for its maker's services; the page holds no such name.
    assert "google" not in page.read_text()
    assert not {url for url in urls_asked_for(tmp_path) if "google" not in url}


def test_charts_have_labels_and_tooltips(page: Path, tmp_path: Path) -> None:
    dom = chromium(page, tmp_path, "--dump-dom").stdout
    for label in re.findall(r'aria-labelledby="([\w-]+) ', dom):
        assert f'id="{label}"' in dom
    assert re.search(r'<g id="funnel-funnel-A-0"><title>codestral-2508: Requests in its episodes: \d+</title>', dom)


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_drawn_at_any_width(page: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    chromium(page, tmp_path, f"--window-size={width},2000", f"--screenshot={picture}", "--hide-scrollbars")
    content = picture.read_bytes()
    assert struct.unpack(">I", content[16:20])[0] == width
    assert len(content) > 20_000
