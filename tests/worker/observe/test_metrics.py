"""Counting finished requests in a real segment, and what is told of it."""

import os
import re
import time
from collections.abc import Iterator

import pytest

from shmcache.core import STATISTICS, Segment
from tests.support.contexts import make_context
from worker.context import Context
from worker.errors import EdgeError
from worker.observe.counters import STALL_MAX_US
from worker.observe.metrics import LoopStalls, Metrics, prometheus, summary
from worker.reasons import Block, Fault, Forward, NotStorable, Outcome, Side

SIZE = 64 * 1024 * 1024
SAMPLE = re.compile(r'(edgecluster_[a-z_]+)(\{[a-z_]+="[^"\\]*"(?:,[a-z_]+="[^"\\]*")*\})? ([0-9.e+-]+)\Z')


@pytest.fixture
def segment() -> Iterator[Segment]:
    fd = os.memfd_create("metrics")
    os.ftruncate(fd, SIZE)
    segment = Segment(fd, SIZE, create=True, boot_id=b"0123456789abcdef")
    segment.join(0, time.monotonic_ns())
    yield segment
    segment.close()
    os.close(fd)


def finished(outcome: Outcome, status: int = 200, version: bytes = b"1.1", **learned: object) -> Context:
    ctx = make_context(version=version)
    ctx.outcome, ctx.status, ctx.bytes_out = outcome, status, 1000
    ctx.ended_ns = ctx.started_ns + 1_000_000
    for slot, value in learned.items():
        setattr(ctx, slot, value)
    return ctx


MIX = [
    finished(Outcome.HIT),
    finished(Outcome.HIT, 304, bytes_out=200),
    finished(Outcome.HIT, version=b"2"),
    finished(Outcome.STALE),
    finished(Outcome.MISS, forward=Forward.STALE, origin="http://o", connect_ns=9, first_byte_ns=2_500_000),
    finished(Outcome.MISS, not_storable=NotStorable.PRIVATE, origin="http://o", retries=2),
    finished(Outcome.BYPASS, 201, bytes_in=77, origin="http://o"),
    finished(Outcome.NONE, 429, block=Block.RATE),
    finished(Outcome.MISS, 502, error=EdgeError(502, Side.ORIGIN, Fault.DNS)),
    finished(Outcome.NONE, 0),
    finished(Outcome.NONE, 418),
]  # fmt: skip


def samples(text: str) -> dict[str, float]:
    """Every sample by name and labels; fails on what is not in the format or lacks HELP and TYPE."""
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name in helped and name not in kinds
            kinds[name] = kind
        else:
            match = SAMPLE.match(line)
            assert match, line
            name = re.sub(r"_(bucket|sum|count)\Z", "", match[1])
            kind = kinds.get(match[1]) or kinds[name]
            assert (kind == "counter") == match[1].endswith("_total")
            key = match[1] + (match[2] or "")
            assert key not in found
            found[key] = float(match[3])
    return found


def test_every_finished_request_is_counted_where_it_belongs(segment: Segment) -> None:
    observe = Metrics(segment.statistics)
    for ctx in MIX:
        observe(ctx)
    got = samples(prometheus(segment.statistics.totals(), {}, {}))
    expected = {
        'requests_total{protocol="1.1",cache="hit"}': 2,
        'requests_total{protocol="2",cache="hit"}': 1,
        'requests_total{protocol="1.1",cache="miss"}': 3,
        'requests_total{protocol="1.1",cache="none"}': 3,
        'responses_total{code="200"}': 5,
        'responses_total{code="304"}': 1,
        'responses_total{code="429"}': 1,
        'responses_total{code="4xx"}': 1,
        'responses_total{code="none"}': 1,
        'blocked_total{stage="rate-limit"}': 1,
        'errors_total{fault="dns_error"}': 1,
        'not_stored_total{reason="private"}': 1,
        "received_bytes_total": 77,
        "sent_bytes_total": 10_200,
        "origin_requests_total": 5,
        "origin_retries_total": 2,
        "origin_connects_total": 1,
        "origin_wait_seconds_total": 0.0025,
        'request_duration_seconds_count{source="edge"}': 7,
        'request_duration_seconds_count{source="origin"}': 4,
    }
    assert {key: got[f"edgecluster_{key}"] for key in expected} == expected
    assert sum(value for key, value in got.items() if "_requests_total{" in key) == len(MIX)
    assert sum(value for key, value in got.items() if "_responses_total{" in key) == len(MIX)


def test_the_duration_of_a_tunnel_is_the_wait_for_it(segment: Segment) -> None:
    tunnel = finished(Outcome.BYPASS, 101, origin="http://o", connect_ns=1_000_000, first_byte_ns=2_000_000)
    tunnel.started_ns -= 3600 * 10**9
    Metrics(segment.statistics)(tunnel)
    got = samples(prometheus(segment.statistics.totals(), {}, {}))
    assert got['edgecluster_request_duration_seconds_sum{source="origin"}'] == pytest.approx(0.003)


def test_durations_are_counted_cumulatively(segment: Segment) -> None:
    observe = Metrics(segment.statistics)
    fast, slow, slowest = finished(Outcome.HIT), finished(Outcome.HIT), finished(Outcome.HIT)
    slow.started_ns -= 2_000_000_000
    slowest.started_ns -= 60_000_000_000
    for ctx in (fast, slow, slowest):
        observe(ctx)
    got = samples(prometheus(segment.statistics.totals(), {}, {}))
    buckets = [
        value
        for key, value in got.items()
        if "request_duration_seconds_bucket" in key and 'source="edge"' in key
    ]
    assert buckets == sorted(buckets)
    bucket = 'edgecluster_request_duration_seconds_bucket{source="edge",le="%s"}'
    assert [got[bucket % bound] for bound in ("1", "2.5", "30", "+Inf")] == [1, 2, 2, 3]
    assert got['edgecluster_request_duration_seconds_sum{source="edge"}'] >= 62


def test_the_longest_stall_is_kept_and_every_stall_counted(segment: Segment) -> None:
    note = LoopStalls(segment.statistics)
    for stall_ns in (-5, 400_000, 30_000_000, 3_000_000):
        note(stall_ns)
    assert segment.statistics.of(0)[STALL_MAX_US] == 30_000
    got = samples(prometheus(segment.statistics.totals(), {}, {}))
    assert got['edgecluster_loop_stall_seconds_bucket{le="0.001"}'] == 2
    assert got['edgecluster_loop_stall_seconds_bucket{le="0.005"}'] == 3
    assert got["edgecluster_loop_stall_seconds_count"] == 4
    assert got["edgecluster_loop_stall_seconds_sum"] == pytest.approx(0.0334)


def test_the_rest_of_the_edge_is_told_when_it_is_known() -> None:
    occupancy = {"pages_total": 1024, "objects": 7, "something_new": 1}
    cluster = {
        "version": "0.1.0",
        "workers": 4,
        "started_s": 1.5,
        "respawns": 2,
        "unknown": 3,
        "generation": "x",
    }
    got = samples(prometheus([0] * STATISTICS, occupancy, cluster))
    assert got["edgecluster_cache_pages"] == 1024
    assert got["edgecluster_cache_objects"] == 7
    assert got["edgecluster_workers"] == 4
    assert got["edgecluster_worker_respawns_total"] == 2
    assert got["edgecluster_start_time_seconds"] == 1.5
    assert got['edgecluster_build_info{version="0.1.0"}'] == 1
    assert "edgecluster_generation" not in got


def test_what_the_segment_tells_of_itself_is_printed(segment: Segment) -> None:
    got = samples(prometheus(segment.statistics.totals(), segment.occupancy(), {}))
    assert got["edgecluster_cache_pages"] > 0
    assert got["edgecluster_cache_objects"] == 0
    assert got["edgecluster_cache_stripe_repairs_total"] == 0


def test_groups_of_origins_are_printed_by_their_configured_names() -> None:
    servers = [
        {"url": "http://10.0.0.1", "state": "healthy", "ejections": 3, "requests": 70, "failed": 5},
        {"url": "http://10.0.0.2", "state": "ejected", "ejections": 1, "requests": 60, "failed": 50},
        {"url": "http://10.0.0.3", "state": "unhealthy", "ejections": 0, "requests": 0, "failed": 0},
    ]
    groups = [
        {"name": "app", "servers": servers, "breaker": {"state": "half-open", "openings": 2}},
        {"name": "other", "servers": servers[:1], "breaker": None},
    ]
    got = samples(prometheus([0] * STATISTICS, {}, {}, groups))
    assert {name: value for name, value in got.items() if "origin_up" in name} == {
        'edgecluster_origin_up{group="app",server="http://10.0.0.1"}': 1,
        'edgecluster_origin_up{group="app",server="http://10.0.0.2"}': 0,
        'edgecluster_origin_up{group="app",server="http://10.0.0.3"}': 0,
        'edgecluster_origin_up{group="other",server="http://10.0.0.1"}': 1,
    }
    assert got['edgecluster_origin_ejections_total{group="app",server="http://10.0.0.1"}'] == 3
    assert got['edgecluster_origin_server_requests_total{group="app",server="http://10.0.0.2"}'] == 60
    assert got['edgecluster_origin_server_failures_total{group="app",server="http://10.0.0.2"}'] == 50
    assert got['edgecluster_origin_breaker_open{group="app"}'] == 1
    assert got['edgecluster_origin_breaker_openings_total{group="app"}'] == 2
    assert sum("breaker" in name for name in got) == 2


def test_what_would_end_a_label_or_its_line_is_escaped() -> None:
    certificates = [{"name": '/etc/a "b"\\c\nd.pem', "expires_s": 1.5}]
    text = prometheus([0] * STATISTICS, {}, {}, certificates=certificates)
    assert r'edgecluster_certificate_expiry_seconds{name="/etc/a \"b\"\\c\nd.pem"} 1.5' in text.splitlines()


def test_the_summary_counts_what_an_operator_asks_first(segment: Segment) -> None:
    observe = Metrics(segment.statistics)
    for ctx in MIX:
        observe(ctx)
    got = summary(segment.statistics.totals())
    assert got["requests"] == len(MIX)
    assert got["hits"] == 4
    assert got["hit_ratio"] == round(4 / 7, 4)  # neither bypass nor what never reached the cache
    assert (got["miss"], got["bypass"], got["none"]) == (3, 1, 3)
    assert (got["blocked"], got["errors"], got["bytes_in"], got["bytes_out"]) == (1, 1, 77, 10_200)


def test_the_summary_of_nothing_is_zero() -> None:
    assert set(summary([0] * STATISTICS).values()) == {0}
