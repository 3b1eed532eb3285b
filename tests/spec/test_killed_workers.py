"""kill -9 of any worker at any instant: other connections feel nothing, no wrong byte is served."""

from pathlib import Path

from tests.soak import kill_workers


def test_killing_workers_under_load_harms_only_their_own_connections(tmp_path: Path) -> None:
    outcome = kill_workers.run(tmp_path / "s", seconds=6, every_s=0.2)
    assert outcome.kills > 0
    assert outcome.innocent_breaks == []
    assert outcome.report.wrong_bodies == []
    assert outcome.report.bad_statuses == []
    assert outcome.audit == []
    assert outcome.late_hits == outcome.late_requests > 0
