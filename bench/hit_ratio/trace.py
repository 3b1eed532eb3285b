"""Request traces: made to order, or read from files in libCacheSim's `oracleGeneral` format.

That format is 24-byte records, little-endian: u32 seconds, u64 key, u32 size in bytes, i64 position of the
key's next request, counted from 1 (-1: none). Whoever has a trace of their own in it can replay it here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype([("time", "<u4"), ("key", "<u8"), ("size", "<u4"), ("next", "<i8")])
REQUESTS_PER_SECOND = 1000
NEVER_AGAIN = 1 << 40  # ranks from here on are asked for once

Records = NDArray[np.void]
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A synthetic trace. `alpha`: Zipf exponent. `drift`: part of the catalogue replaced from begin to end.

    `once`: part of the requests that are for keys never asked for again.
    """

    alpha: float
    drift: float = 0.0
    once: float = 0.2


RECIPES = {
    "zipf 0.8": Recipe(0.8),
    "zipf 0.9": Recipe(0.9),
    "zipf 1.0": Recipe(1.0),
    "zipf 1.1": Recipe(1.1),
    "drift": Recipe(0.9, drift=0.5),
}

# Share, median bytes and log-normal spread of the kinds of bodies at a web edge.
KINDS = (
    (0.30, 700, 0.8),
    (0.30, 6_000, 0.9),
    (0.35, 35_000, 1.0),
    (0.04, 250_000, 0.8),
    (0.01, 2_000_000, 0.6),
)
SMALLEST, LARGEST = 100, 8 << 20


def _mix(words: Words) -> Words:
    """A permutation of 64-bit words that looks random (the finaliser of splitmix64)."""
    words = words ^ (words >> np.uint64(30))
    words = words * np.uint64(0xBF58476D1CE4E5B9)
    words = words ^ (words >> np.uint64(27))
    words = words * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _sizes(keys: Words) -> NDArray[np.uint32]:
    """The size of each key's body, from its bits alone: always the same for the same key."""
    unit = (_mix(keys) >> np.uint64(11)).astype(np.float64) / 2**53
    radius = (_mix(keys + np.uint64(1)) >> np.uint64(11)).astype(np.float64) / 2**53
    angle = (_mix(keys + np.uint64(2)) >> np.uint64(11)).astype(np.float64) / 2**53
    normal = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * math.pi * angle)
    kind = np.searchsorted(np.cumsum([share for share, _, _ in KINDS])[:-1], unit, side="right")
    median = np.array([bytes_ for _, bytes_, _ in KINDS], np.float64)[kind]
    spread = np.array([sigma for _, _, sigma in KINDS])[kind]
    sizes: NDArray[np.uint32] = np.clip(median * np.exp(spread * normal), SMALLEST, LARGEST).astype(np.uint32)
    return sizes


def _next_positions(keys: Words) -> NDArray[np.int64]:
    following = np.full(len(keys), -1, np.int64)
    order = np.argsort(keys, kind="stable")
    again = keys[order][1:] == keys[order][:-1]
    following[order[:-1][again]] = order[1:][again] + 1
    return following


def make(recipe: Recipe, objects: int, requests: int, seed: int = 1) -> Records:
    """A trace of `requests` over a catalogue of `objects`, the same for the same arguments."""
    dice = np.random.default_rng(seed)
    weight = np.cumsum(np.arange(1, objects + 1, dtype=np.float64) ** -recipe.alpha)
    rank = np.searchsorted(weight / weight[-1], dice.random(requests)).astype(np.uint64)
    # Every other object is replaced as the catalogue slides; the rest keep their rank.
    slide = (np.arange(requests) * (recipe.drift * objects / requests)).astype(np.uint64)
    rank = rank + slide * (_mix(rank) % np.uint64(2))
    once = dice.random(requests) < recipe.once
    rank[once] = np.uint64(NEVER_AGAIN) + np.arange(np.count_nonzero(once), dtype=np.uint64)
    keys = _mix(rank + np.uint64(1)) >> np.uint64(1)
    records = np.zeros(requests, RECORD)
    records["time"] = np.arange(requests) // REQUESTS_PER_SECOND + 1
    records["key"], records["size"], records["next"] = keys, _sizes(keys), _next_positions(keys)
    return records


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace in a file, and what must be known of it."""

    name: str
    path: Path
    requests: int
    objects: int
    footprint: int  # bytes: the sum of the sizes of distinct keys
    bytes: int  # asked for

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Key and size of each request, in order."""
        records = np.fromfile(self.path, RECORD, count=self.requests)
        return zip(records["key"].tolist(), records["size"].tolist(), strict=True)


def open_trace(name: str, path: Path, most: int | None = None) -> Trace:
    """The first `most` requests of a file (None: all of them)."""
    records = np.fromfile(path, RECORD, count=-1 if most is None else most)
    keys, first = np.unique(records["key"], return_index=True)
    footprint = int(records["size"][first].astype(np.int64).sum())
    asked = int(records["size"].astype(np.int64).sum())
    return Trace(name, path, len(records), len(keys), footprint, asked)
