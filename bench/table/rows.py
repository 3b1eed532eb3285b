"""The questions of the table: which operation over which keys, in C and from Python, and what it may cost."""

from dataclasses import dataclass

from bench.table.stores import KILO, MEGA

COLD_KEYS = 20_000
PINNED_BYTES = 33_000  # from 32 KiB on, `get` pins


@dataclass(frozen=True, slots=True)
class Row:
    """One question. Targets in nanoseconds per operation; 0: none."""

    name: str
    operation: str  # of the stores; in C the same with dashes
    keys: int = 1
    stored_bytes: int = 0  # body of every key before it begins
    path: str = "static"  # part of the keys: rows that store other things use other keys
    in_c: bool = True
    in_python: bool = True
    pass_operations: int = 20_000  # of one pass from Python
    target_c_ns: float = 0
    target_python_ns: float = 0
    moved_bytes: int = 0  # by one operation, for a rate


GB_PER_S_3 = MEGA / 3  # ns a mebibyte takes at 3 GB/s

ROWS = (
    Row("nothing but the loop", "nothing"),
    Row("hash of the key", "hash", in_python=False),
    Row("get copy, one key", "get_copy", 1, KILO, target_c_ns=80, target_python_ns=400),
    Row("get copy, 64 keys", "get_copy", 64, KILO),
    Row("get copy, 20 k keys", "get_copy", COLD_KEYS, KILO, target_c_ns=350, target_python_ns=700),
    Row("get pin and release, one key", "get_pin", 1, KILO, in_python=False, target_c_ns=100),
    Row("get pin and release, 20 k keys", "get_pin", COLD_KEYS, KILO, in_python=False, target_c_ns=250),
    Row("set, one key", "set", 1, KILO, target_c_ns=250, target_python_ns=1000),
    Row("set, 20 k keys", "set", COLD_KEYS, KILO, target_c_ns=700, target_python_ns=1000),
    Row("token bucket, one key", "take", path="client", target_c_ns=60, target_python_ns=250),
    Row("token bucket, 20 k keys", "take", COLD_KEYS, path="client", target_c_ns=60, target_python_ns=250),
    Row("sliding window, one key", "count", path="window", target_c_ns=60, target_python_ns=250),
    Row("sliding window, 20 k keys", "count", COLD_KEYS, path="window", target_c_ns=60, target_python_ns=250),
    Row("lease claim and release, 64 keys", "lease", 64, path="fetch.", target_c_ns=300),
    Row("lease claim and release, 20 k keys", "lease", COLD_KEYS, path="fetch.", target_c_ns=300),
    Row("lease renew and progress", "renew", path="fetch."),
    Row("tag purge", "purge_tag", 64, path="labels", target_c_ns=150, target_python_ns=1000),
    Row("soft tag purge", "purge_tag_softly", 64, path="labels", target_c_ns=150, target_python_ns=1000),
    Row("directory purge", "purge_directory", path="labels", target_c_ns=150, target_python_ns=1000),
    Row("get pin and release, 33 kB, one key", "get_pin", 1, PINNED_BYTES, "images", in_c=False,
        target_python_ns=400),
    Row("get pin and release, 33 kB, 20 k keys", "get_pin", COLD_KEYS, PINNED_BYTES, "images", in_c=False,
        target_python_ns=700),
    Row("1 MiB: pin, 16 page views, release", "get_views", 16, MEGA, "videos",
        pass_operations=256, target_c_ns=1000, target_python_ns=6000),
    Row("1 MiB: pin, views of what is in one piece, release", "get_runs", 16, MEGA, "videos", in_c=False,
        pass_operations=256),
    Row("1 MiB: fill by pieces of 64 KiB", "fill", 16, MEGA, "videos", pass_operations=256,
        target_c_ns=GB_PER_S_3, target_python_ns=GB_PER_S_3, moved_bytes=MEGA),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Special:
    """A cost that is no loop over keys, measured in C. Target in nanoseconds."""

    name: str
    command: str
    target_ns: float


SPECIALS = (
    Special("wake: from a lease's release to the waiting worker running, p50", "wake", 60e3),
    Special("repair: rebuild one of the 64 stripes of a full 1 GiB segment", "repair", 2e6),
    Special("reap: clean up after a dead member, per 10^6 entries", "reap", 20e6),
)
