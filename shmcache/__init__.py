"""One shared-memory cache, its leases, rate decisions and statistics, for all processes of a host.

Knows keys, tags, deadlines and bytes; refuses to know HTTP or any event loop.
"""

from shmcache.core import (
    COPY_BYTES,
    LAYOUT_VERSION,
    MEMBERS,
    Cache,
    Entry,
    Fill,
    Following,
    Hit,
    Leases,
    MemberInfo,
    PinnedBody,
    Presence,
    Score,
    Scoreboard,
    Segment,
    SlidingWindows,
    Statistics,
    TokenBuckets,
)
from shmcache.endings import Claim, Ending
from shmcache.errors import LayoutMismatch, SegmentError

__all__ = [
    "COPY_BYTES",
    "LAYOUT_VERSION",
    "MEMBERS",
    "Cache",
    "Claim",
    "Ending",
    "Entry",
    "Fill",
    "Following",
    "Hit",
    "LayoutMismatch",
    "Leases",
    "MemberInfo",
    "PinnedBody",
    "Presence",
    "Score",
    "Scoreboard",
    "Segment",
    "SegmentError",
    "SlidingWindows",
    "Statistics",
    "TokenBuckets",
]
