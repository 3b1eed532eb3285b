"""Request ids: 128 random bits in 32 lower-case hex digits; nobody guesses them, no two workers share one."""

import os
from binascii import hexlify
from collections.abc import Iterator

IDS_PER_READ = 256  # one system call and one conversion for this many ids


def request_ids() -> Iterator[bytes]:
    """Endless ids. Begin it after the fork: a generator copied by a fork repeats what its twin gives."""
    while True:
        digits = hexlify(os.urandom(16 * IDS_PER_READ))
        yield from [digits[i : i + 32] for i in range(0, len(digits), 32)]
