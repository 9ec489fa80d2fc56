"""Five hours of typing at fifty times the speed: every suggestion has one outcome, and memory stays."""

from pathlib import Path

import pytest

from tests.lsp_proxy.long_session import replay

REPOSITORY = Path(__file__).parents[2]
GROWTH_MB = 60.0
"""After the first quarter of five hours 46 were measured; an evaluator that kept what it has seen would take more."""


@pytest.mark.parametrize(
    "hours", [pytest.param(0.4, marks=pytest.mark.editor), pytest.param(5.0, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(900)
async def test_a_long_session_loses_no_outcome(tmp_path: Path, hours: float) -> None:
    found = await replay(tmp_path, REPOSITORY, hours=hours, speed=50)
    assert found.offered > 10 * hours
    assert (found.decided, found.twice, found.lost) == (found.offered, 0, 0)
    before, after = found.memory_mb
    assert after - before < GROWTH_MB
