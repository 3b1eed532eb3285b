"""What several files here drive, over every version of HTTP."""

from collections.abc import Iterator

import pytest

from tests.support.caching_edge import CachingEdge
from tests.support.versions import VERSIONS


@pytest.fixture(params=VERSIONS)
def over(request: pytest.FixtureRequest) -> str:
    """The version by which a test asks: what holds in one holds in all."""
    version: str = request.param
    return version


@pytest.fixture(scope="module")
def caching_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    """An edge with default rules; each test serves paths of its own from it."""
    with CachingEdge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
def edge(caching_edge: CachingEdge, over: str) -> CachingEdge:
    """The module's edge, asked over each version in turn."""
    return caching_edge.by(over)
