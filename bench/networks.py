"""What does an access list of a million networks cost? `python -m bench.networks`

Beside it, in the same run, the usual way in plain Python: a dictionary for each prefix length.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address

from worker.networks import NetworkMap

NETWORKS = 1_000_000
LOOK_UPS = 300_000


def rss_bytes() -> int:
    """Memory that is this process's own: what it does not share with others."""
    with open("/proc/self/smaps_rollup") as rollup:
        return 1024 * sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))


class Naive:
    """A dictionary for each prefix length, asked from the longest on."""

    def __init__(self, networks: list[tuple[int, int]]) -> None:
        self.by_prefix: dict[int, dict[int, int]] = {}
        for first, prefix in networks:
            self.by_prefix.setdefault(prefix, {})[first >> (32 - prefix)] = 1
        self.order = sorted(self.by_prefix.items(), reverse=True)

    def find(self, packed: bytes) -> int:
        address = int.from_bytes(packed)
        for prefix, networks in self.order:
            if address >> (32 - prefix) in networks:
                return 1
        return 0


def per_look_up_ns(find: Callable[[bytes], int], asked: list[bytes]) -> float:
    begun = time.process_time_ns()
    for packed in asked:
        find(packed)
    return (time.process_time_ns() - begun) / len(asked)


def in_a_child(body: Callable[[], int]) -> int:
    """What `body` returns in a forked process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, str(body()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    told = int(os.read(reading, 100))
    os.close(reading)
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=NETWORKS)
    count = parser.parse_args().networks
    chance = random.Random(1)
    prefixes = [chance.choice((24, 28, 32, 32)) for _ in range(count)]
    networks = [(chance.getrandbits(32) >> (32 - prefix) << (32 - prefix), prefix) for prefix in prefixes]
    text = "\n".join(f"{ip_address(first)}/{prefix}" for first, prefix in networks).encode()
    asked = [chance.randbytes(4) for _ in range(LOOK_UPS)]

    begun = time.process_time()
    found = NetworkMap([(text, 1)])
    read_s = time.process_time() - begun
    naive = Naive(networks)
    assert [found.find(one) for one in asked[:1000]] == [naive.find(one) for one in asked[:1000]]

    def worker() -> int:
        fresh = random.Random(2)  # nothing of the parent's but the map is touched
        before = rss_bytes()
        for _ in range(LOOK_UPS):
            found.find(fresh.randbytes(4))
        return rss_bytes() - before

    ours, theirs = per_look_up_ns(found.find, asked), per_look_up_ns(naive.find, asked)
    print(f"{count:,} networks: read in {read_s:.2f} s, {found.bytes_used / 1e6:.1f} MB, shared")
    print(f"look-up: {ours:.0f} ns; dictionaries in Python {theirs:.0f} ns; ratio {ours / theirs:.2f}")
    print(f"memory that one worker more adds: {in_a_child(worker) / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
