"""A short run of what `scripts/soak-reload` does for longer."""

from pathlib import Path

from tests.soak import reload


def test_no_message_and_no_event_is_lost_by_reloads(tmp_path: Path) -> None:
    outcome = reload.run(tmp_path / "state", messages=4000, reloads=2)
    assert not outcome.lost
    assert (outcome.echoed, outcome.reloads) == (4000, 2)
    assert outcome.events > 0
    assert outcome.generations > 1
