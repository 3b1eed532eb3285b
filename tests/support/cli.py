"""The command line as a program uses it: one verb, its JSON answer."""

import json
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from cluster.cli import edgecluster as command
from cluster.errors import BootError

PATIENCE_S = 20.0


def edgecluster(*arguments: str, state_dir: Path) -> dict[str, Any]:
    """What a verb of a running edge answers; it must go well, as soon as the control process is there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        run = CliRunner().invoke(command, [*arguments, "--state-dir", str(state_dir), "--json"])
        if not (isinstance(run.exception, BootError) and "being restarted" in str(run.exception)):
            break
        assert time.monotonic() < deadline, run.exception
        time.sleep(0.05)
    assert run.exit_code == 0, run.exception or run.output
    answer: dict[str, Any] = json.loads(run.output)
    return answer
