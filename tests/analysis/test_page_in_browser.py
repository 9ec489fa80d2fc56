"""The page in a real headless Chromium: it renders, complains about nothing, asks for nothing, and fits any width."""

import json
import re
import shutil
import struct
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from matplotlib.image import imread
from playwright.async_api import async_playwright

from analysis.breakdown import Dimension
from analysis.cost import Hosting
from analysis.report import make, write_html
from analysis.source import SqliteSource
from tests.analysis.made_reviews import Reviewer, ReviewPlan, build_reviews, with_reviews
from tests.analysis.synthetic import Plan, Truth, build, with_

pytestmark = pytest.mark.slow

CHROMIUM_TIME_LIMIT_S = 90.0


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    store = build(folder / "codetrial.db")
    build_reviews(store, with_reviews(ReviewPlan(), pulls=80))
    source = SqliteSource(store)
    machine = Hosting(gpu_usd_per_hour=0.9, completions_per_s=30)
    groups = [Dimension.LANGUAGE, Dimension.PLACE]
    later = Plan().end + timedelta(days=60)
    write_html(make(source, now=later, by=groups, hosting=machine), folder / "report.html")
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
    assert done.stdout.count('<svg role="img"') == 7
    for heading in ("A machine of your own", "By place and language", "Review findings that developers act on"):
        assert heading in done.stdout
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
    assert re.search(r'<g id="acted-acted-A-posted"><title>[^<]+ of \d+ acted on', dom)
    assert re.search(r'<g id="even-even-point"><title>The same cost at [\d,]+ completions', dom)
    for section in re.findall(r'<section aria-labelledby="([\w-]+)"', dom):
        assert f'id="{section}"' in dom
    cell = re.search(r'<td class="cell"[^>]*title="([^"]+)"', dom)
    assert cell is not None
    assert "sessions" in cell[1] or "too few" in cell[1]


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_drawn_at_any_width(page: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    chromium(page, tmp_path, f"--window-size={width},2000", f"--screenshot={picture}", "--hide-scrollbars")
    content = picture.read_bytes()
    assert struct.unpack(">I", content[16:20])[0] == width
    assert len(content) > 20_000


@pytest.mark.parametrize(("width", "media"), [(360, "screen"), (1100, "screen"), (700, "print")])
async def test_long_names_make_nothing_wider_than_the_page(
    tmp_path: Path, width: int, media: Literal["screen", "print"]
) -> None:
    long = Truth(name="qwen2.5-coder-32b-instruct-awq-int4-with-repository-context")
    store = build(tmp_path / "codetrial.db", with_(Plan(), a=long, b=Truth(name=f"{long.name}-2")))
    build_reviews(store, with_reviews(ReviewPlan(), a=Reviewer(name=long.name)))
    source = SqliteSource(store)
    write_html(make(source, now=Plan().end + timedelta(days=60)), tmp_path / "report.html")
    source.close()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": width, "height": 900})
        await page.emulate_media(media=media)
        await page.goto((tmp_path / "report.html").as_uri())
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        await browser.close()


def test_the_page_is_dark_for_those_who_ask_for_it(page: Path, tmp_path: Path) -> None:
    shades = []
    for name, arguments in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
        picture = tmp_path / f"{name}.png"
        chromium(page, tmp_path, "--window-size=900,1400", f"--screenshot={picture}", "--hide-scrollbars", *arguments)
        shades.append(float(imread(picture)[..., :3].mean()))
    assert shades[0] > 0.8
    assert shades[1] < 0.3


def test_the_page_prints_on_some_sheets(page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    chromium(page, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    sheets = len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))
    assert 4 <= sheets <= 20
