"""A short run of what `scripts/soak-rates` does for longer."""

from pathlib import Path

from tests.soak import rates


def test_four_workers_grant_what_one_would_through_kills_and_reloads(tmp_path: Path) -> None:
    outcome = rates.run(tmp_path / "state", workers=4, seconds=4)
    assert outcome.kills + outcome.reloads > 0
    assert outcome.excess == []
    assert outcome.refused_modest == 0
    assert min(outcome.share.values()) > 0.9  # a busy machine may keep the greedy from asking in time
