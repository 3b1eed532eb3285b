"""What several files here drive: the supervisor alone, over workers that do next to nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import BARE, Cluster, settings


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(settings(tmp_path), mains=BARE) as cluster:
        yield cluster
