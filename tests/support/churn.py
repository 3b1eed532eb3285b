"""A segment with entries of two kinds among others, and what writes over all that is given back in it."""

from typing import Any

from tests.support.segments import NOW_NS, put, sealed

SMALL, LARGE = 3_000, 150_000
BYSTANDERS = 60


def prepare(segment: Any) -> None:
    for number in range(BYSTANDERS):
        put(segment, b"before %d" % number, sealed(1_000 + number, SMALL))
    assert put(segment, b"small", sealed(1, SMALL))
    assert put(segment, b"large", sealed(2, LARGE))
    for number in range(BYSTANDERS):
        put(segment, b"after %d" % number, sealed(2_000 + number, SMALL))


def churn(segment: Any) -> None:
    """Every chunk and page that is given back is written over, and what is asked for is moved.

    2 MB in all, which is more than the pages of these tests' segments hold.
    """
    for number in range(300):
        put(segment, b"churn %d" % number, sealed(3_000 + number % 50, (number * 997) % 14_000))
        segment.cache.get(b"small", NOW_NS)
        segment.cache.get(b"large", NOW_NS)
