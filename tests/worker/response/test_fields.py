"""Send filter: the edge's own fields, for every outcome."""

import pytest

from tests.support.contexts import REQUEST_ID, make_context
from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response
from worker.reasons import Block, Fault, Forward, NotStorable, Outcome, Side
from worker.response.fields import EdgeFields, structured_name


def added(ctx: Context, *lines: tuple[bytes, bytes], name: str = "edgecluster") -> Fields:
    response = Response(200, Fields.of(lines))
    EdgeFields(name)(ctx, response)
    return response.fields


def outcome(kind: Outcome, **learned: object) -> Context:
    ctx = make_context()
    ctx.outcome = kind
    for slot, value in learned.items():
        setattr(ctx, slot, value)
    return ctx


def test_a_hit_tells_its_age_and_the_lifetime_left() -> None:
    fields = added(outcome(Outcome.HIT, age_s=12, ttl_s=48), (b"Content-Type", b"text/plain"))
    assert fields.items() == [
        (b"Content-Type", b"text/plain"),
        (b"Age", b"12"),
        (b"Via", b"1.1 edgecluster"),
        (b"Cache-Status", b"edgecluster; hit; ttl=48"),
        (b"X-Cache", b"HIT"),
        (b"X-Request-Id", REQUEST_ID),
    ]


FAILED = EdgeError(502, Side.ORIGIN, Fault.CONNECT_REFUSED)

CASES = {
    "stored": (
        outcome(Outcome.MISS, forward=Forward.URI_MISS, forwarded_status=200, stored=True, ttl_s=60),
        b"edgecluster; fwd=uri-miss; fwd-status=200; stored; ttl=60",
    ),
    "not storable": (
        outcome(
            Outcome.MISS, forward=Forward.URI_MISS, forwarded_status=200, not_storable=NotStorable.NO_STORE
        ),
        b"edgecluster; fwd=uri-miss; fwd-status=200; detail=no-store",
    ),
    "collapsed": (
        outcome(Outcome.UPDATING, forward=Forward.URI_MISS, collapsed=True, age_s=0, ttl_s=60),
        b"edgecluster; fwd=uri-miss; ttl=60; collapsed",
    ),
    "revalidated": (
        outcome(
            Outcome.REVALIDATED, forward=Forward.STALE, forwarded_status=304, stored=True, age_s=0, ttl_s=9
        ),
        b"edgecluster; fwd=stale; fwd-status=304; stored; ttl=9",
    ),
    "stale while revalidate": (
        outcome(Outcome.STALE, forward=Forward.STALE, refresh=True, age_s=70, ttl_s=-10),
        b"edgecluster; hit; ttl=-10",
    ),
    "stale if error": (
        outcome(Outcome.STALE, forward=Forward.STALE, forwarded_status=503, age_s=70, ttl_s=-10),
        b"edgecluster; fwd=stale; fwd-status=503; ttl=-10",
    ),
    "method": (
        outcome(Outcome.BYPASS, forward=Forward.METHOD, forwarded_status=201),
        b"edgecluster; fwd=method; fwd-status=201",
    ),
    "collapsed into a fetch under way": (
        outcome(Outcome.UPDATING, forward=Forward.VARY_MISS, collapsed=True, age_s=3, ttl_s=-1),
        b"edgecluster; fwd=vary-miss; ttl=-1; collapsed",
    ),
    "waited in vain": (
        outcome(
            Outcome.MISS,
            forward=Forward.URI_MISS,
            forwarded_status=200,
            collapsed=False,
            not_storable=NotStorable.PRIVATE,
        ),
        b"edgecluster; fwd=uri-miss; fwd-status=200; collapsed=?0; detail=private",
    ),
    "expired": (
        outcome(Outcome.EXPIRED, forward=Forward.STALE, forwarded_status=200, stored=True, ttl_s=60),
        b"edgecluster; fwd=stale; fwd-status=200; stored; ttl=60",
    ),
    "a client's directive": (
        outcome(Outcome.BYPASS, forward=Forward.REQUEST, not_storable=NotStorable.REQUEST_NO_STORE),
        b"edgecluster; fwd=request; detail=request-no-store",
    ),
    "a client's max-stale": (
        outcome(Outcome.STALE, refresh=True, age_s=70, ttl_s=-10),
        b"edgecluster; hit; ttl=-10",
    ),
    "only-if-cached and it is not": (
        outcome(Outcome.NONE, key=b"k", error=EdgeError(504, Side.CLIENT, Fault.UNAVAILABLE)),
        b"edgecluster; detail=destination_unavailable",
    ),
    "origin down": (
        outcome(Outcome.MISS, forward=Forward.URI_MISS, error=FAILED),
        b"edgecluster; fwd=uri-miss; detail=connection_refused",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_cache_status_says_why_and_how_a_request_was_forwarded(case: str) -> None:
    ctx, expected = CASES[case]
    fields = added(ctx)
    assert fields.get_all(b"cache-status") == [expected]
    assert fields.get(b"x-cache") == ctx.outcome.upper().encode()
    assert fields.get(b"age") == (b"%d" % ctx.age_s if ctx.age_s >= 0 else None)


def test_an_answer_the_cache_had_no_part_in_tells_nothing_of_it() -> None:
    fields = added(outcome(Outcome.NONE, block=Block.ACCESS))
    assert fields.items() == [(b"Via", b"1.1 edgecluster"), (b"X-Request-Id", REQUEST_ID)]


def test_what_caches_before_us_said_stays_ahead_of_our_own_words() -> None:
    ctx = outcome(Outcome.BYPASS, forward=Forward.BYPASS)
    fields = added(ctx, (b"Via", b"1.1 inner"), (b"Cache-Status", b"inner; hit"), (b"Age", b"3"))
    assert fields.joined(b"via") == b"1.1 inner, 1.1 edgecluster"
    assert fields.joined(b"cache-status") == b"inner; hit, edgecluster; fwd=bypass"
    assert fields.get_all(b"age") == [b"3"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("edge-1.example", "edge-1.example"),
        ("1st", '"1st"'),
        ("two words", '"two words"'),
        ('a"b', '"a\\"b"'),
    ],
)
def test_a_name_that_is_no_token_is_quoted(name: str, written: str) -> None:
    assert structured_name(name) == written


def test_every_outcome_has_an_x_cache_value_of_its_own() -> None:
    seen = {added(outcome(kind, forward=Forward.MISS, age_s=0)).get(b"x-cache") for kind in Outcome}
    assert len(seen) == len(Outcome)


@pytest.mark.parametrize("kind", [Outcome.HIT, Outcome.MISS])
def test_clients_that_may_come_by_http3_are_told_so(kind: Outcome) -> None:
    ctx = outcome(kind, age_s=1, ttl_s=1)
    ctx.client.alt_svc = b'Alt-Svc: h3=":443"; ma=86400\r\n'
    assert added(ctx).items()[-1] == (b"Alt-Svc", b'h3=":443"; ma=86400')
