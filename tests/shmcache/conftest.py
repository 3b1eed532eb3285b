"""The core with fault points, built once per run."""

from types import ModuleType

import pytest

from tests.support.segments import build_faulty_core


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return build_faulty_core(tmp_path_factory.mktemp("faulty"))
