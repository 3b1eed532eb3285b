"""The models of pins, leases and repair hold in all their states, and each of their mutants fails."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("model", sorted(path.stem for path in (ROOT / "scripts/models").glob("*.pml")))
def test_a_model_holds_and_its_mutants_do_not(model: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts/model-check", model], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    assert f"{model}: holds in all" in done.stdout
    assert "as it must" in done.stdout
