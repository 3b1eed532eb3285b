"""The table of counters: no two things share a number, and the core's names are the core's."""

import re
from pathlib import Path

import pytest

from shmcache.core import STATISTICS, USER_STATISTICS
from worker.observe import counters
from worker.observe.counters import CORE, DURATION_BOUNDS_NS, FROM_EDGE, OUTCOMES, PROTOCOLS, STALL_BOUNDS_NS
from worker.reasons import Outcome

GROUPS = {  # first number -> how many of them are in use
    counters.REQUESTS: 12 * (len(PROTOCOLS) - 1) + len(OUTCOMES),
    counters.STATUS: len(counters.STATUSES) + len(counters.OTHER_STATUSES),
    counters.BLOCKED: len(counters.BLOCKS),
    counters.FAILED: len(counters.FAULTS),
    counters.NOT_STORED: len(counters.REASONS),
    counters.PURGES: len(counters.PURGE_KINDS),
    counters.LEAKS: len(counters.LEAK_KINDS),
    counters.STALLS: len(STALL_BOUNDS_NS) + 1,
    counters.FROM_EDGE: len(DURATION_BOUNDS_NS) + 2,
    counters.FROM_ORIGIN: len(DURATION_BOUNDS_NS) + 2,
}
SINGLE = [
    value
    for name, value in vars(counters).items()
    if name.isupper() and isinstance(value, int) and value not in GROUPS and name not in ("USER", "END")
]


def test_no_number_means_two_things() -> None:
    taken = [first + number for first, count in GROUPS.items() for number in range(count)] + SINGLE
    assert len(taken) == len(set(taken))
    assert min(taken) >= counters.USER == USER_STATISTICS
    assert max(taken) < counters.END <= STATISTICS


def test_every_pair_of_protocol_and_outcome_has_its_own_counter() -> None:
    numbers = {counters.request_counter(version.encode(), kind) for version in PROTOCOLS for kind in Outcome}
    assert len(numbers) == len(PROTOCOLS) * len(Outcome)


def test_the_core_has_as_many_counters_as_we_have_names_for() -> None:
    header = Path(__file__).resolve().parents[3] / "shmcache" / "counter.h"
    enum = header.read_text().split("enum core_counter {")[1].split("}")[0]
    words = re.findall(r"^\s*CORE_(\w+)", enum, re.MULTILINE)
    assert words.pop() == "COUNTERS"
    assert len(words) == len(CORE)
    renamed = {"expired": "expirations", "repairs": "stripe_repairs", "bucket_table_full": "rate_table_full"}
    assert [renamed.get(word.lower(), word.lower()) for word in words] == [name for name, _ in CORE]


@pytest.mark.parametrize(
    ("status", "label"), [(0, "none"), (103, "1xx"), (226, "2xx"), (418, "4xx"), (599, "5xx"), (999, "none")]
)
def test_a_rare_status_is_counted_by_its_class(status: int, label: str) -> None:
    number = counters.status_counter(status) - counters.STATUS - len(counters.STATUSES)
    assert counters.OTHER_STATUSES[number] == label


@pytest.mark.parametrize(
    ("duration_ns", "bucket"), [(0, 0), (25_000, 0), (25_001, 1), (30_000_000_000, 18), (30_000_000_001, 19)]
)
def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed(
    duration_ns: int, bucket: int
) -> None:
    assert counters.duration_counter(FROM_EDGE, duration_ns) == FROM_EDGE + 1 + bucket


def test_connections_that_a_killed_worker_never_closed_cannot_make_the_number_negative() -> None:
    totals = [0] * STATISTICS
    totals[counters.CONNECTIONS_OPENED], totals[counters.CONNECTIONS_CLOSED] = 5, 3
    assert counters.open_connections(totals) == 2
    totals[counters.CONNECTIONS_CLOSED] = 9
    assert counters.open_connections(totals) == 0
