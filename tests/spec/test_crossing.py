"""No user gets what was made for another, whatever the origin says about it and however many ask at once."""

from pathlib import Path

from tests.soak import crossing


def test_nobody_gets_what_was_made_for_another(tmp_path: Path) -> None:
    outcome = crossing.run(tmp_path / "s", requests=6000, users=2)
    assert outcome.requests == 6000
    assert outcome.crossings == []
    assert outcome.broken == []
    shared = [count for name, count in outcome.by_kind.items() if crossing.KINDS[name].is_shared]
    assert all(count["hits"] and count["collapsed"] and count["of others"] for count in shared)
