"""Five hours of typing at fifty times the speed: every suggestion has one outcome, and memory stays."""

from pathlib import Path

import pytest

from tests.lsp_proxy.long_session import replay

REPOSITORY = Path(__file__).parents[2]
EVALUATOR_MB, RELAY_MB = 25.0, 8.0
"""Growth over the whole session after its warm-up. Allocators breathe by some megabytes; one that kept what it has seen
would take hundreds."""


@pytest.mark.parametrize(
    "hours", [pytest.param(0.4, marks=pytest.mark.editor), pytest.param(5.0, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(900)
async def test_a_long_session_loses_no_outcome(tmp_path: Path, hours: float) -> None:
    found = await replay(tmp_path, REPOSITORY, hours=hours, speed=50)
    assert found.offered > 10 * hours
    assert (found.decided, found.twice, found.lost) == (found.offered, 0, 0)
    growth = found.growth_mb_an_hour()
    assert growth.evaluator_mb * growth.hours < EVALUATOR_MB
    assert growth.relay_mb * growth.hours < RELAY_MB
