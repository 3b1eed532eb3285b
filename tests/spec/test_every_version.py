"""What holds in HTTP/1.1 holds in every version and over TLS: some sections once more over each."""

from collections.abc import Iterator

import pytest

from tests.spec.test_rfc9110_14_ranges import *  # noqa: F403
from tests.spec.test_rfc9111_4_3_validation import *  # noqa: F403
from tests.support.caching_edge import CachingEdge
from tests.support.versions import VERSIONS


@pytest.fixture(scope="module", params=VERSIONS[1:])
def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachingEdge]:
    """The edge those tests drive, asked over another version than theirs."""
    with CachingEdge(tmp_path_factory.mktemp("edge"), over=request.param) as running:
        yield running
