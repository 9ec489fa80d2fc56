"""Outcomes read from document changes beside what was really done, in Neovim itself and in the scripted editor.

`python -m bench truth` does the same with many more cases and keeps the table.
"""

import os
from pathlib import Path

import pytest

from codetrial.paths import cache_dir
from tests.lsp_proxy.truth import Tally, cases
from tests.lsp_proxy.truth_neovim import in_neovim
from tests.lsp_proxy.truth_scripted import SCRIPTED, in_scripted_editor

pytestmark = [pytest.mark.editor, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
"""Our own history: real commits, and always there."""
EACH = 2


def program(name: str) -> str:
    path = Path(os.environ.get("CODETRIAL_EDITORS", cache_dir() / "editors")) / "bin" / name
    assert path.exists(), f"{path} is missing: run tests/editors/install.sh"
    return str(path)


def check(tally: Tally) -> None:
    """So few cases leave no room for an error; the bench has enough for shares."""
    assert tally.offered == tally.decided, "every suggestion that was offered has one outcome"
    assert tally.not_shown <= 2, tally.details
    assert tally.details == []
    assert {(counted.precision, counted.recall) for counted in tally.classes().values()} == {(1.0, 1.0)}
    assert (tally.outside_seen, tally.outside_false) == (tally.outside_expected, 0)


@pytest.mark.parametrize("runs_commands", [True, False])
async def test_what_is_done_in_neovim_is_what_is_recorded(tmp_path: Path, *, runs_commands: bool) -> None:
    known = cases(REPOSITORY, 120, seed=11)
    check(await in_neovim(tmp_path, program("nvim"), known, EACH, surface="inline", runs_commands=runs_commands))


@pytest.mark.parametrize("runs_commands", [True, False])
async def test_what_is_done_in_an_older_neovims_menu_is_what_is_recorded(
    tmp_path: Path, *, runs_commands: bool
) -> None:
    known = cases(REPOSITORY, 120, seed=12)
    check(await in_neovim(tmp_path, program("nvim-0.11"), known, EACH, surface="menu", runs_commands=runs_commands))


@pytest.mark.parametrize("name", SCRIPTED)
async def test_what_is_done_in_the_scripted_editor_is_what_is_recorded(tmp_path: Path, name: str) -> None:
    check(await in_scripted_editor(tmp_path, SCRIPTED[name], cases(REPOSITORY, 120, seed=13), EACH))
