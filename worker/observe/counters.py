"""Which counter of the shared statistics means what.

One table for those who count, those who print and the dashboard. The numbers are part of the segment's
layout: an upgraded worker counts on where the old one stopped, so groups have room and only grow at the end.
"""

from bisect import bisect_left
from typing import Final

from worker.reasons import Block, Fault, Leak, NotStorable, Outcome, PurgeKind, TurnedAway

# The core's own (shmcache/counter.h), by number: name and meaning.
CORE: Final = (
    ("stripe_repairs", "Stripes rebuilt after the owner of their lock died."),
    ("lock_timeouts", "Operations given up because a stripe stayed locked."),
    ("evictions", "Stored responses removed to make room."),
    ("expirations", "Stored responses removed because their time was over."),
    ("no_room", "Responses not stored because no room could be made."),
    ("leases_taken_over", "Fetches that took too long and were given to another request."),
    ("lease_table_full", "Fetches made without a lease because the table was full."),
    ("rate_table_full", "Rate decisions granted without a cell to count them in."),
    ("reaps", "Dead processes cleaned up after."),
    ("reaped_pins", "Pins of dead processes given back."),
    ("reaped_fills", "Half-made entries of dead processes given back."),
    ("reaped_leases", "Leases of dead processes ended."),
    ("torn_reads", "Copies repeated because the entry changed underneath."),
    ("hits_small", "Lookups in the shared cache that found a small body."),
    ("hits_large", "Lookups in the shared cache that found a large body."),
    ("misses", "Lookups in the shared cache that found nothing."),
    ("stores_small", "Responses stored with a small body."),
    ("stores_large", "Responses stored with a large body."),
    ("evicted_small", "Small responses removed to make room."),
    ("evicted_large", "Large responses removed to make room."),
    ("evicted_index", "Stored responses removed because their place in the index was full."),
    ("relocated", "Chunks moved so that their page could be given back."),
    ("lock_waits", "Locks that were not free at once."),
    ("damaged", "Stored responses dropped because a checksum or a length was wrong."),
    ("not_admitted", "Large responses not stored because they were seen for the first time."),
    ("pins_broken_off", "Bodies copied out of the shared cache for slow readers."),
    ("crawled", "Stored responses looked at by the crawler."),
    ("purged", "Stored responses dropped because a purge had hit them."),
    ("prefix_sweeps", "Passes over the shared cache for purges by prefix."),
    ("warm_starts", "Times the shared cache was taken over with what lay in it."),
    ("window_table_full", "Sliding-window decisions granted without a cell to count them in."),
    ("leases_claimed", "Fetches begun with a lease."),
    ("leases_published", "Leases that ended with a stored response."),
    ("leases_not_storable", "Leases that ended with a response that may not be shared."),
    ("leases_failed", "Leases that ended with a failed fetch."),
    ("leases_owner_died", "Leases whose process died or gave the fetch up."),
    ("leases_too_slow", "Leases ended because their deadline had passed."),
    ("leases_unknown", "Claims withdrawn because another request claimed the same key at the same time."),
    ("leases_renewed", "Times a long fetch lengthened its lease."),
    ("scoreboard_full", "Origin servers and groups whose health is not kept because the table was full."),
    ("presence_full", "Connections and requests let in without a word to count them in."),
)

USER: Final = 64  # the first number that is ours: shmcache.core.USER_STATISTICS

PROTOCOLS: Final = ("1.0", "1.1", "2", "3")
OUTCOMES: Final = tuple(Outcome)
STATUSES: Final = (
    200, 201, 202, 203, 204, 206, 301, 302, 303, 304, 307, 308,
    400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 429, 431, 451,
    500, 501, 502, 503, 504,
)  # fmt: skip
OTHER_STATUSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # none: the client left before its answer
BLOCKS: Final = tuple(Block)
FAULTS: Final = tuple(Fault)
REASONS: Final = tuple(NotStorable)
PURGE_KINDS: Final = tuple(PurgeKind)
TURNED_AWAY_FOR: Final = tuple(TurnedAway)
LEAK_KINDS: Final = tuple(Leak)

# Upper bounds of the duration buckets, in nanoseconds; one more bucket holds the rest.
DURATION_BOUNDS_NS: Final = tuple(
    us * 1000
    for us in (
        25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
    )
)  # fmt: skip
STALL_BOUNDS_NS: Final = tuple(ms * 1_000_000 for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000))

REQUESTS: Final = USER  # by protocol and outcome, 4 x 12
STATUS: Final = 112  # STATUSES, then OTHER_STATUSES, 64
BLOCKED: Final = 176  # 8
FAILED: Final = 184  # 40
NOT_STORED: Final = 224  # 24

BYTES_IN: Final = 248  # request bodies
BYTES_OUT: Final = 249  # heads and bodies sent
CONNECTIONS_OPENED: Final = 250
CONNECTIONS_CLOSED: Final = 251
CONNECTIONS_REFUSED: Final = 252  # over the limit
TLS_HANDSHAKES: Final = 253
TLS_FAILURES: Final = 254
ORIGIN_REQUESTS: Final = 255  # attempts, with retries
ORIGIN_RETRIES: Final = 256
ORIGIN_CONNECTS: Final = 257  # requests that had to open a connection
ORIGIN_WAIT_US: Final = 258  # from request sent until the first byte of the answer
LOG_LINES_LOST: Final = 259
TUNNELS_OPENED: Final = 260
TUNNELS_CLOSED: Final = 261

STALL_MAX_US: Final = 263  # of one process, so only its own page means something
STALL_US: Final = 264  # sum
STALLS: Final = 265  # STALL_BOUNDS_NS and the rest, 15

FROM_EDGE: Final = 280  # duration of what the edge answered itself: sum in us, then the buckets, 32
FROM_ORIGIN: Final = 312  # duration of what had to wait for an origin, the same way, 32
PURGES: Final = 344  # asked for, by kind, 8

QUIC_HANDSHAKES: Final = 352  # so many connections of HTTP/3
QUIC_FAILURES: Final = 353
QUIC_RECEIVED: Final = 354  # datagrams, by whichever way
QUIC_SENT: Final = 355
QUIC_HANDED_OVER: Final = 356  # datagrams of another worker's connections
QUIC_DROPPED: Final = 357  # of those, the ones its inbox had no room for
QUIC_RESETS: Final = 358  # stateless ones: somebody went on with a connection that is gone
QUIC_RETRIES: Final = 359
WAF_MATCHED: Final = 360  # requests against which the WAF holds something
WAF_REFUSABLE: Final = 361  # of those, the ones that are refused where a route blocks
LEAKS_MISSED: Final = 362  # answers that could not be looked at
TURNED_AWAY: Final = 368  # connections, by TurnedAway, 8
LEAKS: Final = 376  # answers of origins that had one, by kind, 8
END: Final = 384


def request_counter(version: bytes, outcome: Outcome) -> int:
    """Requests of one protocol version ("1.0", "1.1", "2", "3") with one outcome."""
    return REQUESTS + 12 * PROTOCOLS.index(version.decode("ascii")) + OUTCOMES.index(outcome)


def status_counter(status: int) -> int:
    """Answers with that status; those we do not expect are counted by class. 0: there was no answer."""
    if status in STATUSES:
        return STATUS + STATUSES.index(status)
    return STATUS + len(STATUSES) + (status // 100 if 100 <= status < 600 else 0)


def duration_counter(group: int, duration_ns: int) -> int:
    """The bucket of FROM_EDGE or FROM_ORIGIN that a duration falls into."""
    return group + 1 + bisect_left(DURATION_BOUNDS_NS, duration_ns)


def open_connections(counters: list[int]) -> int:
    """Connections open, of one process or of all: a killed process never counted the end of its own."""
    return max(0, counters[CONNECTIONS_OPENED] - counters[CONNECTIONS_CLOSED])


def open_tunnels(counters: list[int]) -> int:
    """Of those, the ones that have switched protocols."""
    return max(0, counters[TUNNELS_OPENED] - counters[TUNNELS_CLOSED])
