"""What several files here drive."""

from collections.abc import Iterator

import pytest

from tests.support.caching_edge import CachingEdge


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    """An edge with default rules; each test serves paths of its own from it."""
    with CachingEdge(tmp_path_factory.mktemp("edge")) as running:
        yield running
