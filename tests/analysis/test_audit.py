import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.audit import audit, lines
from analysis.commands import commands
from analysis.store import Store
from codetrial.assignment import Propensities, draw
from codetrial.errors import EvidenceError
from codetrial.records import (
    ArmLabel,
    Assignment,
    Disposition,
    Door,
    Exposure,
    Outcome,
    OutcomeClass,
    Place,
    SessionEnd,
    Shown,
    Surface,
    Task,
    Trial,
    Unit,
)

SEED = "5eed"
SHARES = Propensities(0.45, 0.45, 0.1)
NOW = "2026-01-01T00:00:00.000Z"


def trial() -> Trial:
    manifest = {"trial": {"mode": "shown", "sample": 0.5, "shares": {"a": 0.45, "b": 0.45, "none": 0.1}}}
    return Trial(
        id="t-1",
        name="test",
        manifest=json.dumps(manifest),
        manifest_hash="h",
        seed=SEED,
        assignment_unit=Unit.EPISODE,
        primary_metric="acceptance",
        created_at=NOW,
    )


def episode(number: int) -> Assignment:
    unit = f"e-{number:05}"
    drawn = draw(SEED, unit, SHARES, 0.5)
    return Assignment(
        id=unit,
        trial="t-1",
        session="s-1",
        unit=Unit.EPISODE,
        document="d",
        shown=drawn.shown,
        propensity_a=0.45,
        propensity_b=0.45,
        propensity_none=0.1,
        is_sampled=drawn.is_sampled,
        reason=None,
        opened_ns=1_000,
        opened_at=NOW,
        closes_ns=61_000,
    )


def task(assignment: str, *, requested_ns: int = 2_000) -> Task:
    return Task(
        id=f"k-{assignment}",
        trial="t-1",
        session="s-1",
        assignment=assignment,
        door=Door.EDITOR,
        disposition=Disposition.REUSED,
        request_id="1",
        document="d",
        document_version=1,
        language="python",
        place=Place.LINE_END,
        trigger=None,
        line=0,
        character=0,
        prefix_hash=None,
        suffix_hash=None,
        prefix_chars=0,
        suffix_chars=0,
        requested_ns=requested_ns,
        requested_at=NOW,
        routed_ns=None,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "codetrial.db") as store:
        store.append(trial(), *(episode(number) for number in range(300)))
        yield store


def test_a_trial_that_was_run_as_designed_is_sound(store: Store) -> None:
    found = audit(store, "t-1")
    assert (found.assignments, found.findings, found.is_sound) == (300, (), True)
    assert found.ratio is not None
    assert sum(found.ratio.counts) < 200


def test_an_assignment_that_was_tampered_with_is_found(store: Store) -> None:
    other = episode(1_000)
    swapped = Shown.B if other.shown is Shown.A else Shown.A
    store.append(dataclasses.replace(other, shown=swapped))
    [finding] = audit(store, "t-1").findings
    assert (finding.rows, finding.examples) == (1, (other.id,))


def test_sessions_of_another_seed_are_named_and_not_called_tampered_with(store: Store) -> None:
    with store.db.conn as connection:
        connection.execute("UPDATE trial SET seed = 'another'")
    assert not audit(store, "t-1").is_sound
    with store.db.conn as connection:
        connection.execute("INSERT INTO incident VALUES ('other-seed-s-1', 's-1', 'other_seed', 1, NULL, 1, ?)", [NOW])
    found = audit(store, "t-1")
    assert found.is_sound
    assert any("merged from a database with another seed" in note for note in found.notes)


def test_shares_that_are_not_the_manifests_are_found(store: Store) -> None:
    drawn = draw(SEED, "e-other", Propensities(1.0, 0.0, 0.0), 0.5)
    row = dataclasses.replace(
        episode(0), id="e-other", shown=drawn.shown, propensity_a=1.0, propensity_b=0.0, propensity_none=0.0
    )
    store.append(row)
    assert audit(store, "t-1").findings[0].examples == ("e-other",)


def test_a_sample_in_other_shares_is_no_sound_trial(store: Store) -> None:
    only_a = [e for n in range(2_000, 6_000) if (e := episode(n)).shown is Shown.A]
    store.append(*only_a)
    found = audit(store, "t-1")
    assert found.findings == ()
    assert not found.is_sound


@pytest.mark.parametrize("manifest", ["{}", "no json", '{"trial": {"mode": "shown", "shares": {"a": 0.45}}}'])
def test_a_manifest_from_which_nothing_can_be_drawn_is_told(store: Store, manifest: str) -> None:
    store.db.conn.execute("UPDATE trial SET manifest = ?", [manifest])
    found = audit(store, "t-1")
    [finding] = found.findings
    assert (finding.rows, found.is_sound) == (300, False)
    assert "0 assignments drawn again" in "\n".join(lines(found))
    assert "the manifest says" in "\n".join(lines(found))


def test_broken_promises_are_found(store: Store) -> None:
    control = next(e for n in range(300) if (e := episode(n)).shown is Shown.NONE)
    shown = task(control.id, requested_ns=70_000)
    exposure = Exposure(
        id="x-1",
        suggestion="g-1",
        task=shown.id,
        label=ArmLabel.A,
        surface=Surface.INLINE,
        rank=0,
        offered_ns=0,
        offered_at=NOW,
    )
    outcomes = [
        Outcome(
            id=f"o-{number}",
            suggestion="g-2",
            task=shown.id,
            label=ArmLabel.A,
            outcome=OutcomeClass.ACCEPTED,
            rule="command",
            accepted_chars=1,
            decided_ns=0,
            decided_at=NOW,
            detail=None,
        )
        for number in range(2)
    ]
    store.append(shown, exposure, *outcomes)
    promises = {finding.promise for finding in audit(store, "t-1").findings}
    assert promises == {
        "every suggestion has one outcome at most",
        "an outcome in the editor belongs to something that was offered",
        "nothing is offered in a control episode, and never by the arm that is not shown",
        "every request lies within its episode",
    }


def test_an_exposure_that_a_full_disk_has_cost_is_noted_and_breaks_no_promise(store: Store) -> None:
    asked = task(episode(0).id)
    decided = Outcome(
        id="o-1", suggestion="g-1", task=asked.id, label=ArmLabel.A, outcome=OutcomeClass.NOT_TAKEN, rule="diverged",
        accepted_chars=None, decided_ns=0, decided_at=NOW, detail=None,
    )  # fmt: skip
    store.append(asked, decided)
    assert [finding.rows for finding in audit(store, "t-1").findings] == [1]
    store.append(SessionEnd(session=asked.session, reason="exit", dropped_events=3, ended_ns=0, ended_at=NOW))
    found = audit(store, "t-1")
    assert found.findings == ()
    assert any("have lost their exposure" in note for note in found.notes)


def test_a_trial_that_is_not_there_is_named_with_those_that_are(store: Store) -> None:
    with pytest.raises(EvidenceError, match=r"no trial t-2 .* Known: t-1"):
        audit(store, "t-2")


def test_the_command_says_what_it_found_and_ends_with_a_status(store: Store) -> None:
    [command] = [c for listed in commands.values() for c in listed if c.name == "audit"]
    sound = CliRunner().invoke(command, ["--store", str(store.path)])
    assert sound.exit_code == 0, sound.output
    assert "300 assignments drawn again, all as stored" in sound.output
    other = episode(1_000)
    store.append(dataclasses.replace(other, is_sampled=not other.is_sampled))
    broken = CliRunner().invoke(command, ["--store", str(store.path)])
    assert broken.exit_code == 1
    assert "NOT SOUND" in broken.output
    assert other.id in broken.output
