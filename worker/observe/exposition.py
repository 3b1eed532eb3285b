"""The shared statistics as others read them: Prometheus text, and the short summary of `status`.

Pure functions over numbers: whoever can see the segment can print it. Metric names are an API; they begin
with `edgecluster_` and use base units (seconds, bytes).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from worker.observe.counters import (
    BLOCKED,
    BLOCKS,
    BYTES_IN,
    BYTES_OUT,
    CONNECTIONS_OPENED,
    CONNECTIONS_REFUSED,
    CORE,
    DURATION_BOUNDS_NS,
    FAILED,
    FAULTS,
    FROM_EDGE,
    FROM_ORIGIN,
    LEAK_KINDS,
    LEAKS,
    LEAKS_MISSED,
    LOG_LINES_LOST,
    NOT_STORED,
    ORIGIN_CONNECTS,
    ORIGIN_REQUESTS,
    ORIGIN_RETRIES,
    ORIGIN_WAIT_US,
    OTHER_STATUSES,
    OUTCOMES,
    PROTOCOLS,
    PURGE_KINDS,
    PURGES,
    QUIC_DROPPED,
    QUIC_FAILURES,
    QUIC_HANDED_OVER,
    QUIC_HANDSHAKES,
    QUIC_RECEIVED,
    QUIC_RESETS,
    QUIC_RETRIES,
    QUIC_SENT,
    REASONS,
    STALL_BOUNDS_NS,
    STALL_US,
    STALLS,
    STATUS,
    STATUSES,
    TLS_FAILURES,
    TLS_HANDSHAKES,
    TUNNELS_OPENED,
    TURNED_AWAY,
    TURNED_AWAY_FOR,
    WAF_MATCHED,
    WAF_REFUSABLE,
    open_connections,
    open_tunnels,
    request_counter,
)
from worker.reasons import Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, float]  # labels with their braces, or "", and the value

_COUNTERS = (
    (BYTES_IN, "received_bytes", "Bytes of request bodies received from clients."),
    (BYTES_OUT, "sent_bytes", "Bytes of answers sent to clients, heads and bodies."),
    (CONNECTIONS_OPENED, "connections", "Client connections accepted."),
    (CONNECTIONS_REFUSED, "connections_refused", "Client connections refused because there were too many."),
    (
        TUNNELS_OPENED,
        "tunnels",
        "Connections or streams of clients switched to another protocol (WebSocket).",
    ),
    (TLS_HANDSHAKES, "tls_handshakes", "TLS handshakes with clients that succeeded."),
    (TLS_FAILURES, "tls_handshake_failures", "TLS handshakes with clients that failed."),
    (QUIC_HANDSHAKES, "quic_handshakes", "QUIC handshakes (HTTP/3) with clients that succeeded."),
    (QUIC_FAILURES, "quic_handshake_failures", "QUIC handshakes with clients that failed."),
    (QUIC_RECEIVED, "quic_received_datagrams", "UDP datagrams received from clients."),
    (QUIC_SENT, "quic_sent_datagrams", "UDP datagrams sent to clients."),
    (QUIC_HANDED_OVER, "quic_handed_over_datagrams", "UDP datagrams passed on to the worker they are for."),
    (QUIC_DROPPED, "quic_dropped_datagrams", "UDP datagrams for another worker whose inbox was full."),
    (QUIC_RESETS, "quic_stateless_resets", "QUIC connections found gone, of a dead worker for example."),
    (QUIC_RETRIES, "quic_retries", "QUIC clients asked to prove their address first, under load."),
    (ORIGIN_REQUESTS, "origin_requests", "Requests sent to origins, with retries."),
    (ORIGIN_RETRIES, "origin_retries", "Requests sent to origins again after a failure."),
    (ORIGIN_CONNECTS, "origin_connects", "Requests to origins that had to open a connection."),
    (WAF_MATCHED, "waf_matched_requests", "Requests against which the WAF holds something."),
    (WAF_REFUSABLE, "waf_refusable_requests", "Of those, the ones it refuses, or would where it only logs."),
    (LEAKS_MISSED, "leaks_missed", "Answers not looked at for leaks because their bodies were coded."),
    (LOG_LINES_LOST, "access_log_lost_lines", "Access log lines that could not be written."),
)

_OCCUPANCY = {  # of shmcache.core.Segment.occupancy()
    "pages_total": ("cache_pages", "Pages of 64 KiB the cache has."),
    "pages_used": ("cache_pages_used", "Pages of 64 KiB in use."),
    "entries_total": ("cache_entries", "Places for stored responses."),
    "entries_used": ("cache_entries_used", "Places for stored responses in use."),
    "bytes_stored": ("cache_stored_bytes", "Bytes of keys, metadata and bodies stored."),
    "objects": ("cache_objects", "Responses stored and visible."),
}

_CLUSTER = {
    "workers": ("workers", "gauge", "Worker processes that should run."),
    "workers_alive": ("workers_alive", "gauge", "Worker processes that do run."),
    "respawns": ("worker_respawns_total", "counter", "Worker processes replaced after they died."),
    "generation": ("generation", "gauge", "How often the configuration was loaded."),
    "started_s": ("start_time_seconds", "gauge", "When the edge was started, in seconds since 1970."),
    "loop_stall_max_s": ("loop_stall_max_seconds", "gauge", "The longest stall of any living worker's loop."),
}


def prometheus(
    totals: list[int],
    occupancy: Mapping[str, int],
    cluster: Mapping[str, object],
    groups: Sequence[Mapping[str, Any]] = (),
    certificates: Sequence[Mapping[str, Any]] = (),
    rules: Mapping[str, int] | None = None,
) -> str:
    """Prometheus text exposition format 0.0.4 of all that is known.

    `totals` are `Statistics.totals()`, `occupancy` is `Segment.occupancy()`. Of `cluster` the numbers under
    workers, workers_alive, respawns, generation, started_s and loop_stall_max_s are printed, and the string
    under version; what is absent is left out. `groups` are the groups of origins, each with its name, its
    breaker and its servers; `certificates` each have a name and, once they are there, the moment they expire.
    `rules` are the matches of the WAF's rules.
    """
    return "".join(
        (
            *_families(totals, occupancy, cluster),
            *_of_groups(groups),
            *_of_certificates(certificates),
            *_of_rules(rules or {}),
        )
    )


def _families(
    totals: list[int], occupancy: Mapping[str, int], cluster: Mapping[str, object]
) -> Iterator[str]:
    version = cluster.get("version")
    if version is not None:
        yield _family("build_info", "gauge", "The version that runs.", [(_labels(version=str(version)), 1)])
    for key, (name, kind, text) in _CLUSTER.items():
        value = cluster.get(key)
        if isinstance(value, int | float):
            yield _family(name, kind, text, [("", value)])
    yield _family(
        "requests_total", "counter", "Requests finished, by protocol and what the cache did.",
        [
            (_labels(protocol=protocol, cache=outcome), totals[request_counter(protocol.encode(), outcome)])
            for protocol in PROTOCOLS
            for outcome in OUTCOMES
        ],
    )  # fmt: skip
    codes = [*map(str, STATUSES), *OTHER_STATUSES]
    yield _group(totals, STATUS, "responses_total", "Answers, by status; rare ones by class.", "code", codes)
    yield _group(totals, BLOCKED, "blocked_total", "Requests refused by a security stage.", "stage", BLOCKS)
    yield _group(
        totals, TURNED_AWAY, "turned_away_total", "Connections closed before any request of them was read.",
        "reason", TURNED_AWAY_FOR,
    )  # fmt: skip
    yield _group(totals, FAILED, "errors_total", "Requests that failed, by what failed.", "fault", FAULTS)
    yield _group(totals, NOT_STORED, "not_stored_total", "Responses not stored, and why.", "reason", REASONS)
    yield _group(totals, PURGES, "purges_total", "Purges asked for, by what they named.", "kind", PURGE_KINDS)
    yield _group(totals, LEAKS, "leaks_total", "Answers of origins with a leak.", "kind", LEAK_KINDS)
    yield _histogram(
        "request_duration_seconds", "From the end of a request's head until its answer was handed over.",
        DURATION_BOUNDS_NS,
        [
            (_labels(source="edge"), totals[FROM_EDGE], totals[FROM_EDGE + 1 :]),
            (_labels(source="origin"), totals[FROM_ORIGIN], totals[FROM_ORIGIN + 1 :]),
        ],
    )  # fmt: skip
    for number, name, text in _COUNTERS:
        yield _family(f"{name}_total", "counter", text, [("", totals[number])])
    yield _family(
        "connections_open", "gauge", "Client connections open now.", [("", open_connections(totals))]
    )
    yield _family(
        "tunnels_open", "gauge", "Connections or streams of clients that speak another protocol now.",
        [("", open_tunnels(totals))],
    )  # fmt: skip
    yield _family(
        "origin_wait_seconds_total", "counter", "Time from a request sent to an origin until its first byte.",
        [("", totals[ORIGIN_WAIT_US] / 1e6)],
    )  # fmt: skip
    yield _histogram(
        "loop_stall_seconds", "How much later than due a worker's loop looked at its clock.",
        STALL_BOUNDS_NS, [("", totals[STALL_US], totals[STALLS:])],
    )  # fmt: skip
    for number, (name, text) in enumerate(CORE):
        yield _family(f"cache_{name}_total", "counter", text, [("", totals[number])])
    for key, (name, text) in _OCCUPANCY.items():
        if key in occupancy:
            yield _family(name, "gauge", text, [("", occupancy[key])])


def _of_groups(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How the servers of origin groups are, as the control process reports it."""
    servers = [
        (_labels(group=group["name"], server=server["url"]), server)
        for group in groups
        for server in group["servers"]
    ]
    breakers = [
        (_labels(group=group["name"]), group["breaker"]) for group in groups if group["breaker"] is not None
    ]
    if servers:
        yield _family(
            "origin_up", "gauge", "Whether a server of a group may be asked: neither unhealthy nor ejected.",
            [(labels, int(server["state"] == "healthy")) for labels, server in servers],
        )  # fmt: skip
        yield _family(
            "origin_server_requests_total", "counter", "Requests a server of a group answered or failed.",
            [(labels, server["requests"]) for labels, server in servers],
        )  # fmt: skip
        yield _family(
            "origin_server_failures_total", "counter", "Requests that a server of a group failed.",
            [(labels, server["failed"]) for labels, server in servers],
        )  # fmt: skip
        yield _family(
            "origin_ejections_total", "counter", "Times a server was left out because its requests failed.",
            [(labels, server["ejections"]) for labels, server in servers],
        )  # fmt: skip
    if breakers:
        yield _family(
            "origin_breaker_open", "gauge", "Whether a group's circuit breaker is open or half-open.",
            [(labels, int(breaker["state"] != "closed")) for labels, breaker in breakers],
        )  # fmt: skip
        yield _family(
            "origin_breaker_openings_total", "counter", "Times a group's circuit breaker opened.",
            [(labels, breaker["openings"]) for labels, breaker in breakers],
        )  # fmt: skip


def _of_certificates(certificates: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """When each certificate ends, as the control process reports it."""
    ends = [
        (_labels(name=one["name"]), one["expires_s"]) for one in certificates if one["expires_s"] is not None
    ]
    if ends:
        yield _family(
            "certificate_expiry_seconds", "gauge", "When a certificate expires, in seconds since 1970.", ends
        )


def _of_rules(rules: Mapping[str, int]) -> Iterator[str]:
    """How often rules and detectors of the WAF matched; those that never did are left out."""
    if rules:
        samples = [(_labels(rule=rule), count) for rule, count in rules.items()]
        yield _family(
            "waf_rule_matches_total", "counter", "Requests that a rule of the WAF matched.", samples
        )


def _labels(**labels: str) -> str:
    """Labels in braces, their values escaped as the text format wants it: a path may hold anything."""
    pairs = ",".join(
        '{}="{}"'.format(name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in labels.items()
    )
    return f"{{{pairs}}}"


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP edgecluster_{name} {text}\n# TYPE edgecluster_{name} {kind}\n"]
    lines += [f"edgecluster_{name}{labels} {_number(value)}\n" for labels, value in samples]
    return "".join(lines)


def _group(totals: list[int], first: int, name: str, text: str, label: str, words: Iterable[str]) -> str:
    samples = [(_labels(**{label: word}), totals[first + number]) for number, word in enumerate(words)]
    return _family(name, "counter", text, samples)


def _histogram(
    name: str, text: str, bounds_ns: tuple[int, ...], series: Iterable[tuple[str, int, list[int]]]
) -> str:
    """Each series: labels, sum in microseconds, counts per bucket with at least one more than the bounds."""
    lines = [f"# HELP edgecluster_{name} {text}\n# TYPE edgecluster_{name} histogram\n"]
    for labels, sum_us, counts in series:
        inner = labels[1:-1] + "," if labels else ""
        seen = 0
        for bound_ns, count in zip(bounds_ns, counts, strict=False):
            seen += count
            lines.append(f'edgecluster_{name}_bucket{{{inner}le="{_number(bound_ns / 1e9)}"}} {seen}\n')
        seen += counts[len(bounds_ns)]
        lines.append(
            f'edgecluster_{name}_bucket{{{inner}le="+Inf"}} {seen}\n'
            f"edgecluster_{name}_sum{labels} {_number(sum_us / 1e6)}\n"
            f"edgecluster_{name}_count{labels} {seen}\n"
        )
    return "".join(lines)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.15g}"


def summary(totals: list[int]) -> dict[str, int | float]:
    """The few numbers an operator looks at first.

    `hit_ratio` is the share answered from the cache without waiting for an origin, of the requests that
    asked the cache at all; 0.0 as long as there are none.
    """
    outcomes = {
        outcome: sum(totals[request_counter(protocol.encode(), outcome)] for protocol in PROTOCOLS)
        for outcome in OUTCOMES
    }
    requests = sum(outcomes.values())
    hits = outcomes[Outcome.HIT] + outcomes[Outcome.STALE]
    asked = requests - outcomes[Outcome.BYPASS] - outcomes[Outcome.NONE]
    return {
        "requests": requests,
        "hits": hits,
        "hit_ratio": round(hits / asked, 4) if asked else 0.0,
        **{str(outcome): count for outcome, count in outcomes.items() if outcome is not Outcome.HIT},
        "blocked": sum(totals[BLOCKED : BLOCKED + len(BLOCKS)]),
        "errors": sum(totals[FAILED : FAILED + len(FAULTS)]),
        "bytes_in": totals[BYTES_IN],
        "bytes_out": totals[BYTES_OUT],
        "connections": totals[CONNECTIONS_OPENED],
        "connections_open": open_connections(totals),
        "origin_requests": totals[ORIGIN_REQUESTS],
        "log_lines_lost": totals[LOG_LINES_LOST],
    }
