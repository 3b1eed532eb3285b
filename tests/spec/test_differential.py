"""Generated scripts of origins and clients, judged by the RFC: nothing is reused that must not be reused."""

from tests.differential.run import run
from tests.differential.tally import OURS


def test_generated_scripts_break_no_rule() -> None:
    tally = run([OURS], seed=4, count=120)
    assert tally.faults == []
    assert tally.ways[OURS]["reused"] > 20
    assert tally.ways[OURS]["validated"] > 5
