"""The core with fault points, built once per run, whichever of its processes wants it first."""

import fcntl
import os
from types import ModuleType

import pytest

from tests.support.segments import build_faulty_core, load_faulty_core


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "faulty.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory = shared / "faulty"
        if not directory.exists():
            built = tmp_path_factory.mktemp("faulty")
            build_faulty_core(built)
            built.rename(directory)
    return load_faulty_core(directory)
