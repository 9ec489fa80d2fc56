"""The same places asked for through the real proxy and a real language server, beside the direct replay."""

import asyncio
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from analysis.history import History, Selection
from analysis.replay import start
from analysis.replay.paired import Replays
from codetrial.config import load
from codetrial.manifest import freeze
from lsp_proxy.proxied_replay import replay_through_proxy, server_for
from tests.analysis.replay.conftest import busy_repository, own_folders, server  # noqa: F401  Fixtures.
from tests.analysis.replay.test_run import answering, replayed, served  # noqa: F401  And a helper.
from tests.codetrial.streaming import StreamingServer

TASKS = 4


async def through_proxy(repository: Path, config_file: Path, store: Path, **more: Any) -> start.Replayed:
    config = load(repository, config_file=config_file)
    options = start.Options(
        repository=repository, selection=Selection(), tasks=TASKS, store=store, **{"concurrency": 1, **more}
    )

    def work() -> start.Replayed:
        with History(repository) as history:
            prepared = start.prepare(history, config, options)
            return start.replay_through(
                replay_through_proxy, history, config, options, prepared, Console(quiet=True),
                config_file=config_file, server=server_for("python"),
            )  # fmt: skip

    return await asyncio.to_thread(work)


def left_in(folder: Path) -> list[Path]:
    """The files that were typed in."""
    return list(folder.glob("codetrial-proxied-*"))


@pytest.mark.timeout(180)
async def test_the_proxy_is_asked_at_the_same_places_and_its_answers_score_the_same(
    answering: StreamingServer,  # noqa: F811
    busy_repository: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config_file, store = served(answering.url, tmp_path), tmp_path / "r.db"
    config = load(tmp_path, config_file=config_file)
    trial = freeze(config)[0].id
    await replayed(busy_repository, config, store, tasks=TASKS)

    done = await through_proxy(busy_repository, config_file, store)
    assert (done.outcome.asked, done.outcome.already_done, done.outcome.stopped) == (TASKS, 0, None)
    assert done.outcome.spent_usd == pytest.approx(0.01 * TASKS)
    assert done.paired.tasks == TASKS

    direct = Replays(store, trial, client=start.CLIENT)
    proxied = Replays(store, trial, client=start.PROXY_CLIENT)
    for metric in ("first_line_similarity", "first_line_exact", "prefix_chars_share"):
        one, other = direct.columns(metric), proxied.columns(metric)
        assert sorted(zip(one.sha, one.b, strict=True)) == sorted(zip(other.sha, other.b, strict=True))
    assert any(direct.columns().b > 0)

    with sqlite3.connect(store) as opened:
        places = "SELECT t.line, t.character FROM task t JOIN session s ON s.id = t.session WHERE s.client_name = ?"
        assert sorted(opened.execute(places, [start.CLIENT])) == sorted(opened.execute(places, [start.PROXY_CLIENT]))
        asked = "SELECT DISTINCT door, origin, server_name FROM session WHERE client_name = ?"
        assert opened.execute(asked, [start.PROXY_CLIENT]).fetchall() == [("editor", "replay", "basedpyright")]

    again = await through_proxy(busy_repository, config_file, store)
    assert (again.outcome.asked, again.outcome.already_done) == (0, TASKS)
    assert not left_in(tmp_path)


@pytest.mark.timeout(120)
async def test_the_budget_is_kept_through_the_proxy_too(
    answering: StreamingServer,  # noqa: F811
    busy_repository: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = await through_proxy(busy_repository, served(answering.url, tmp_path), tmp_path / "r.db", budget_usd=0.015)
    assert done.outcome.asked == 1
    assert "budget of $0.015" in (done.outcome.stopped or "")


def test_reviews_are_another_command_with_options_of_its_own() -> None:
    from analysis.replay.commands import replay

    shown = CliRunner().invoke(replay, ["--reviews", "--help"])
    assert shown.exit_code == 0
    assert "--blamed" in shown.output
    assert "--cutoff" not in shown.output
    assert "--reviews" in CliRunner().invoke(replay, ["--help"]).output


def test_a_server_is_for_the_proxy_only() -> None:
    from analysis.replay.commands import replay

    refused = CliRunner().invoke(replay, ["--server", "pylsp"])
    assert refused.exit_code == 2
    assert "--through-proxy" in refused.output
