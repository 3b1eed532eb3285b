"""A few seconds of what scripts/fuzz-attach does for as long as one likes."""

import subprocess

from tests.support.segments import ROOT


def test_mutated_segments_are_refused_or_taken_over_soundly() -> None:
    done = subprocess.run([ROOT / "scripts" / "fuzz-attach", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
