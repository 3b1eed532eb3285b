"""The gate that answers a certification authority's challenges."""

import time
from collections.abc import Iterator

import pytest

from shmcache.core import Segment
from tests.support.contexts import make_context
from tests.support.regions import open_segment
from worker.message import Response
from worker.security.challenge import PREFIX, ChallengeGate, publish


@pytest.fixture
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        segment.join(0, time.monotonic_ns())
        yield segment


def asked(segment: Segment, path: bytes, method: bytes = b"GET") -> Response | None:
    return ChallengeGate(segment.cache)(make_context(path=path, method=method))


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_published_token_is_answered(segment: Segment, method: bytes) -> None:
    assert publish(segment.cache, b"token", b"token.thumbprint")
    response = asked(segment, PREFIX + b"token", method)
    assert response is not None
    assert (response.status, response.body, response.length) == (200, b"token.thumbprint", 16)


@pytest.mark.parametrize(
    ("path", "method"), [(PREFIX + b"other", b"GET"), (b"/token", b"GET"), (PREFIX + b"token", b"POST")]
)
def test_everything_else_goes_on_to_the_site(segment: Segment, path: bytes, method: bytes) -> None:
    publish(segment.cache, b"token", b"token.thumbprint")
    assert asked(segment, path, method) is None
