"""The dress rehearsal's short form: one day of five developers and a few pull requests, with every fault."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1800)
def test_every_figure_of_a_rehearsed_day_is_what_the_script_did(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.rehearsal", "--quick", "--keep", str(tmp_path / "kept")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
