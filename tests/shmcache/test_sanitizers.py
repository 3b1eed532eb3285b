"""The cache's C under the compiler's sanitizers, threads standing in for processes."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATIONS = {"address": "6000", "undefined": "6000", "thread": "2500"}  # of each of four threads


@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_sanitizer_has_nothing_to_say(kind: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts/sanitize", kind, "--", "--operations", OPERATIONS[kind]],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    assert "torn 0, foreign 0, damaged 0" in done.stdout
