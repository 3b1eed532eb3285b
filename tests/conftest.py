"""What all tests of one process share."""

import pytest

from tests.support import patterns


@pytest.fixture(scope="session", autouse=True)
def _patterns_are_compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    patterns.keep_in(tmp_path_factory.mktemp("waf"))
