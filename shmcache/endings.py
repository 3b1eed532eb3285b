"""How a claim is answered and how a fetch ends: the numbers of lease.h, with names.

The plain constants of shmcache.core are equal to them and cheaper to compare with on hot paths.
"""

from enum import IntEnum


class Claim(IntEnum):
    """What `Leases.claim` answers."""

    CLAIMED = 0  # the caller fetches, and releases the ticket
    WAIT = 1  # another fetches: the ticket tells its ending
    FULL = 2  # no room for a lease: the caller fetches without one


class Ending(IntEnum):
    """What `Leases.ending` answers, and `Leases.release` is given."""

    PENDING = 0  # still running
    PUBLISHED = 1  # an entry was stored
    NOT_STORABLE = 2  # the response may not be shared
    FAILED = 3  # the fetch failed
    OWNER_DIED = 4  # its process died, or gave it up
    TOO_SLOW = 5  # its deadline passed
    UNKNOWN = 6  # it cannot be told any more: claim again
