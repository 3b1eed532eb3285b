"""The rate limit gate over real token buckets."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from shmcache.core import Segment
from tests.support.contexts import make_context
from tests.support.regions import open_segment
from worker.context import Context
from worker.message import Response
from worker.pipeline import LATER
from worker.reasons import Block
from worker.response.error_page import ErrorPage
from worker.security.ratekey import key_parts
from worker.security.ratelimit import RateLimitGate, structured_string
from worker.settings import RateLimitSettings

NOW = 10**15
SECOND = 10**9


@pytest.fixture
def segment() -> Iterator[Segment]:
    with open_segment() as (segment, _):
        yield segment


def gate(
    segment: Segment, rate: float = 10, burst: int = 20, name: str = "pages", action: str = "block"
) -> RateLimitGate:
    return made(segment, RateLimitSettings(name, rate, burst, action))


def made(segment: Segment, settings: RateLimitSettings) -> RateLimitGate:
    refuse = ErrorPage("edge").refuse
    return RateLimitGate(settings, segment.buckets, segment.windows, refuse, key_parts(settings.key))


def at(now_ns: int, bucket_key: bytes = b"\xc0\x00\x02\x01") -> Context:
    ctx = make_context()
    ctx.now_ns = now_ns
    ctx.client.bucket_key = bucket_key
    return ctx


def refused(answer: Response | None) -> Response:
    assert answer is not None
    return answer


def test_the_burst_passes_and_the_rest_at_the_rate(segment: Segment) -> None:
    limit = gate(segment, rate=10, burst=20)
    passed = [limit(at(NOW)) is None for _ in range(30)]
    assert passed == [True] * 20 + [False] * 10
    assert [limit(at(NOW + SECOND)) is None for _ in range(15)] == [True] * 10 + [False] * 5


def test_a_refusal_is_a_429_with_its_fields(segment: Segment) -> None:
    limit = gate(segment, rate=10, burst=20)
    for _ in range(20):
        limit(at(NOW))
    ctx = at(NOW)
    response = refused(limit(ctx))
    assert (response.status, ctx.block) == (429, Block.RATE)
    assert response.fields.get_all(b"retry-after") == [b"1"]
    assert response.fields.get_all(b"ratelimit") == [b'"pages";r=0;t=1']
    assert response.fields.get_all(b"ratelimit-policy") == [b'"pages";q=20;w=2']


@pytest.mark.parametrize(
    ("rate", "burst", "wait_s", "window_s"),
    [(1000.0, 1, 1, 1), (1.0, 5, 1, 5), (0.4, 1, 3, 3), (1 / 3600, 2, 3600, 7200), (3.0, 1, 1, 1)],
)
def test_waits_are_whole_seconds_rounded_up_and_at_least_one(
    segment: Segment, rate: float, burst: int, wait_s: int, window_s: int
) -> None:
    limit = gate(segment, rate=rate, burst=burst)
    for _ in range(burst):
        assert limit(at(NOW)) is None
    fields = refused(limit(at(NOW))).fields
    assert fields.get(b"retry-after") == b"%d" % wait_s
    assert fields.get(b"ratelimit") == b'"pages";r=0;t=%d' % wait_s
    assert fields.get(b"ratelimit-policy") == b'"pages";q=%d;w=%d' % (burst, window_s)


def test_who_waits_as_told_passes(segment: Segment) -> None:
    limit = gate(segment, rate=0.3, burst=1)
    assert limit(at(NOW)) is None
    wait_s = int(refused(limit(at(NOW))).fields.get(b"retry-after") or b"")
    assert limit(at(NOW + wait_s * SECOND)) is None


def test_a_rate_that_is_no_whole_interval_is_never_exceeded(segment: Segment) -> None:
    limit = gate(segment, rate=3, burst=1)
    passed = sum(limit(at(NOW + tick * SECOND // 1000)) is None for tick in range(10_000))
    assert passed <= 1 + 3 * 10
    assert passed >= 3 * 10 - 1


def test_clients_and_limits_have_buckets_of_their_own(segment: Segment) -> None:
    pages, logins = gate(segment, burst=1), gate(segment, burst=1, name="logins")
    assert pages(at(NOW)) is None
    assert pages(at(NOW, b"\xc0\x00\x02\x02")) is None
    assert pages(at(NOW, b"\xc0\x00\x02\x01\x00\x00\x00\x00")) is None
    assert logins(at(NOW)) is None
    assert pages(at(NOW)) is not None
    assert logins(at(NOW)) is not None


def test_gates_of_the_same_limit_share_the_bucket(segment: Segment) -> None:
    assert gate(segment, burst=1)(at(NOW)) is None
    assert gate(segment, burst=1)(at(NOW)) is not None


def test_action_log_lets_pass_and_tells_once_a_second(
    segment: Segment, caplog: pytest.LogCaptureFixture
) -> None:
    limit = gate(segment, rate=0.01, burst=1, action="log")
    with caplog.at_level(logging.WARNING, "edgecluster.ratelimit"):
        for tick in range(11):
            ctx = at(NOW + tick * SECOND // 5)
            assert limit(ctx) is None
            assert ctx.block is None
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "'pages' would have refused 1 requests" in messages[0]
    assert "'pages' would have refused 5 requests, the last from 192.0.2.1" in messages[1]


@pytest.mark.parametrize(
    ("text", "field"),
    [("pages", b'"pages"'), ('a"b\\c', b'"a\\"b\\\\c"'), ("größe\r\n", b'"gr??e??"'), ("", b'""')],
)
def test_a_name_becomes_a_structured_string(text: str, field: bytes) -> None:
    assert structured_string(text) == field


def grants(limit: RateLimitGate, contexts: Iterable[Context]) -> list[bool]:
    return [limit(ctx) is None for ctx in contexts]


def test_a_window_grants_its_limit_however_late_in_it(segment: Segment) -> None:
    limit = made(segment, RateLimitSettings("hourly", 1.0, 3, window_s=60))
    assert grants(limit, [at(NOW + 59 * SECOND) for _ in range(4)]) == [True, True, True, False]
    ctx = at(NOW + 60 * SECOND)
    response = refused(limit(ctx))
    assert response.fields.get(b"ratelimit-policy") == b'"hourly";q=3;w=60'
    assert int(response.fields.get(b"retry-after") or b"") > 0


def test_a_rule_for_some_methods_leaves_the_others_alone(segment: Segment) -> None:
    limit = made(segment, RateLimitSettings("posts", 1.0, 1, methods=(b"POST",)))
    asked = [at(NOW) for _ in range(4)]
    for ctx, method in zip(asked, (b"POST", b"GET", b"POST", b"GET"), strict=True):
        ctx.request.method = method
    assert grants(limit, asked) == [True, True, False, True]


def test_a_method_may_cost_more(segment: Segment) -> None:
    limit = made(segment, RateLimitSettings("costly", 1.0, 5, costs=((b"POST", 3),)))
    posts = [at(NOW), at(NOW)]
    for ctx in posts:
        ctx.request.method = b"POST"
    assert grants(limit, [*posts, at(NOW), at(NOW), at(NOW)]) == [True, False, True, True, False]


@pytest.mark.parametrize("window_s", [0, 60])
def test_a_rule_with_statuses_counts_those_answers_alone(segment: Segment, window_s: int) -> None:
    settings = RateLimitSettings("logins", 0.1, 2, window_s=window_s, statuses=((401, 401), (403, 403)))
    limit = made(segment, settings)
    assert limit.counts_answers
    for status in (200, 401, 200, 404, 403):
        ctx = at(NOW)
        assert limit(ctx) is None
        ctx.status = status
        limit.count(ctx)
    ctx = at(NOW)
    assert refused(limit(ctx)).status == 429
    ctx.status = 401
    limit.count(ctx)  # a refusal of our own is no failed login
    other = at(NOW, b"\xc0\x00\x02\x02")
    assert limit(other) is None


def test_delay_lets_requests_wait_and_refuses_who_would_wait_too_long(
    segment: Segment,
) -> None:
    settings = RateLimitSettings("queue", 10.0, 2, action="delay", longest_delay_s=0.3)
    limit = made(segment, settings)
    waits = []
    for _ in range(7):
        ctx = at(NOW)
        answered = limit(ctx)
        waits.append(None if answered is not None and answered is not LATER else ctx.delay_ns)
    assert waits == [0, 0, SECOND // 10, 2 * SECOND // 10, 3 * SECOND // 10, None, None]
    assert limit(at(NOW + 5 * SECOND)) is None


KEYS = [
    (("path",), {"path": b"/a"}, {"path": b"/b"}),
    (("host",), {"host": b"a.test"}, {"host": b"b.test"}),
    (("method",), {"method": b"GET"}, {"method": b"POST"}),
    (("header:X-Key",), {"lines": [(b"X-Key", b"1")]}, {"lines": [(b"X-Key", b"2")]}),
    (("header:x-key",), {"lines": [(b"X-KEY", b"1")]}, {"lines": []}),
    (("cookie:id",), {"lines": [(b"Cookie", b"a=1; id=7")]}, {"lines": [(b"Cookie", b"id=8; a=1")]}),
    (("query:q",), {"query": b"x=1&q=a"}, {"query": b"q=b&x=1"}),
    (("address", "path"), {"path": b"/a"}, {"path": b"/b"}),
    (("path", "host"), {"path": b"/a", "host": b"b"}, {"path": b"/", "host": b"ab"}),
]


@pytest.mark.parametrize(("key", "one", "other"), KEYS, ids=[" ".join(key) for key, _, _ in KEYS])
def test_what_differs_in_the_key_is_counted_apart(
    segment: Segment, key: tuple[str, ...], one: dict[str, Any], other: dict[str, Any]
) -> None:
    limit = made(segment, RateLimitSettings(" ".join(key), 1.0, 1, key=key))
    assert grants(limit, [keyed(**one), keyed(**one), keyed(**other), keyed(**other)]) == [
        True,
        False,
        True,
        False,
    ]


def keyed(*, lines: Sequence[tuple[bytes, bytes]] = (), **parts: bytes) -> Context:
    ctx = make_context(*lines)
    ctx.now_ns = NOW
    for name, value in parts.items():
        setattr(ctx.request, name, value)
    return ctx


def test_systems_and_countries_are_counted_together() -> None:
    key = key_parts(["asn", "country"], asn_of=lambda client: client.port, country_of=lambda _: b"DE")
    assert key is not None
    first, second, third = (
        make_context(address="192.0.2.1"),
        make_context(address="192.0.2.2"),
        make_context(),
    )
    third.client.port = 7
    assert key(first) == key(second) != key(third)
