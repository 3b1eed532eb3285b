"""Send filter: what clients are told of lifetimes instead of the origin's words."""

import pytest

from tests.support.contexts import make_context
from worker.context import Context
from worker.fields import Fields
from worker.message import Response
from worker.reasons import Outcome
from worker.response.browser_ttl import BrowserTtl

CC = b"Cache-Control"


def told(outcome: Outcome, *lines: tuple[bytes, bytes], age_s: int = 5, status: int = 200) -> Fields:
    ctx: Context = make_context()
    ctx.outcome, ctx.age_s, ctx.stored = outcome, age_s, outcome is Outcome.MISS
    response = Response(status, Fields.of(lines))
    BrowserTtl(60)(ctx, response)
    return response.fields


ROWS = [
    pytest.param(b"max-age=9", b"max-age=65", id="max-age, and the age that Age will tell"),
    pytest.param(b"public, max-age=9, immutable", b"public, immutable, max-age=65", id="the rest stays"),
    pytest.param(b"s-maxage=9", b"s-maxage=9, max-age=65", id="shared caches are told what they were"),
    pytest.param(b"MAX-AGE=9,max-age", b"max-age=65", id="every spelling"),
    pytest.param(b"no-store", b"no-store", id="no-store"),
    pytest.param(b"max-age=9, Private", b"max-age=9, Private", id="private"),
    pytest.param(b'no-cache="x", max-age=9', b'no-cache="x", max-age=9', id="no-cache"),
    pytest.param(b"x-private, max-age=9", b"x-private, max-age=65", id="only whole names count"),
]


@pytest.mark.parametrize(("value", "expected"), ROWS)
def test_cache_control_of_a_hit(value: bytes, expected: bytes) -> None:
    assert told(Outcome.HIT, (CC, value)).get_all(b"cache-control") == [expected]


@pytest.mark.parametrize("outcome", [Outcome.STALE, Outcome.REVALIDATED, Outcome.UPDATING, Outcome.HIT])
def test_expires_gives_way(outcome: Outcome) -> None:
    assert told(outcome, (b"Expires", b"0")).items() == [(CC, b"max-age=65")]


def test_the_age_of_an_answer_straight_from_an_upstream_cache_counts() -> None:
    fields = told(Outcome.MISS, (CC, b"max-age=99"), (b"Age", b"30"), age_s=-1)
    assert fields.get(b"cache-control") == b"max-age=90"


@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.BYPASS, 200), (Outcome.NONE, 403), (Outcome.HIT, 416)]
)
def test_what_is_not_stored_keeps_its_own_words(outcome: Outcome, status: int) -> None:
    assert told(outcome, (CC, b"max-age=9"), status=status).items() == [(CC, b"max-age=9")]
