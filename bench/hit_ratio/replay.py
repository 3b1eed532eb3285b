"""Every policy by the name it has in the table, and one replay of a trace through it."""

from dataclasses import dataclass

import libcachesim

from bench.hit_ratio.core import Core
from bench.hit_ratio.policies import Policy, TwoPools
from bench.hit_ratio.trace import Trace

CORE, DESIGN = "shmcache", "two pools (simulated)"
KNOWN = {
    "LRU": libcachesim.LRU,
    "S3-FIFO": libcachesim.S3FIFO,
    "SIEVE": libcachesim.Sieve,
    "ARC": libcachesim.ARC,
    "GDSF": libcachesim.GDSF,
    "Belady": libcachesim.Belady,
    "BeladySize": libcachesim.BeladySize,
}
POLICIES = (CORE, DESIGN, *KNOWN)
HASH_POWER = 18  # libCacheSim's tables begin with 2**18 buckets instead of 2**24


@dataclass(frozen=True, slots=True)
class Misses:
    """Parts of the requests, and of the bytes asked for, that the cache could not answer."""

    objects: float
    bytes: float


def replay(policy: str, trace: Trace, capacity: int) -> Misses:
    """One policy, one trace, one size. RuntimeError when the core's audit finds a fault afterwards."""
    if policy in KNOWN:
        return _replay_known(policy, trace, capacity)
    if policy == DESIGN:
        return _replay(TwoPools(capacity), trace)
    with Core(capacity) as core:
        misses = _replay(core, trace)
        if faults := core.segment.audit():
            raise RuntimeError(f"the segment is damaged after {trace.name}: {faults[0]}")
    return misses


def _replay(cache: Policy, trace: Trace) -> Misses:
    hits = hit_bytes = 0
    for key, size in trace:
        if cache.get(key):
            hits += 1
            hit_bytes += size
        else:
            cache.put(key, size)
    return Misses(1 - hits / trace.requests, 1 - hit_bytes / trace.bytes)


def _replay_known(policy: str, trace: Trace, capacity: int) -> Misses:
    reader = libcachesim.TraceReader(str(trace.path), libcachesim.TraceType.ORACLE_GENERAL_TRACE)
    more = {"reader": reader} if policy.startswith("Belady") else {}
    cache = KNOWN[policy](cache_size=capacity, hashpower=HASH_POWER, **more)
    objects, bytes_ = cache.process_trace(reader, 0, trace.requests)
    return Misses(objects, bytes_)
