"""The shared segment as Python sees it: cache, leases, token buckets, statistics, members.

Knows keys, tags, deadlines and bytes; nothing of HTTP, nothing of asyncio. One clock: CLOCK_MONOTONIC
nanoseconds (`time.monotonic_ns()`), always passed in. Every call is safe against the death of any
other process at any instant.

A *member* is one process's place in the segment (0..MEMBERS-1): pins, half-made entries and leases
carry its number and epoch, so that what a dead process held can be given back exactly.
"""

from collections.abc import Sequence
from typing import Final, final

from shmcache.errors import LayoutMismatch as LayoutMismatch
from shmcache.errors import SegmentError as SegmentError

MEMBERS: Final = 64
COPY_BYTES: int  # bodies up to this size are copied out by `get`, larger ones are pinned
STATISTICS: Final = 512  # u64 per member; those below USER_STATISTICS are the core's own
USER_STATISTICS: Final = 64
LAYOUT_VERSION: int
PAGE_BYTES: int  # what `occupancy` counts pages of

SCORES: int  # cells of the scoreboard
SCORE_WORDS: int

# Verdicts of Cache.get
FRESH: int  # within its freshness lifetime
STALE_WHILE_REVALIDATE: int  # stale, within its stale-while-revalidate window
STALE_IF_ERROR: int  # stale, within its stale-if-error window
EXPIRED: int  # stale and outside every window, but kept: revalidate before use

# What Following.look says of a body that another process writes
RUNNING: int  # more will come
WHOLE: int  # all of it can be read
BROKEN: int  # no more will come: the fill was given up, or its process died

# Answers of Leases.claim
CLAIMED: int  # the caller fetches, and must `release`
WAIT: int  # somebody else fetches; the caller's doorbell rings at the end
FULL: int  # no room in the lease table: fetch without a lease

# Endings of a lease
PENDING: int  # still running
PUBLISHED: int  # an entry was stored: look it up
NOT_STORABLE: int  # the response may not be shared: everyone goes alone
FAILED: int  # the fetch failed: waiters may answer with that failure
OWNER_DIED: int  # elect a new owner
TOO_SLOW: int  # its deadline passed: elect a new owner
UNKNOWN: int  # the cell was reused meanwhile: look up and claim again

class MemberInfo:
    member: int
    pid: int
    epoch: int
    joined: bool
    started_ns: int
    heartbeat_ns: int

class Segment:
    """One mapping of the segment. Made by the supervisor before it forks, inherited by everyone else."""

    cache: Cache
    leases: Leases
    buckets: TokenBuckets
    windows: SlidingWindows
    scoreboard: Scoreboard
    presence: Presence
    statistics: Statistics
    size_bytes: int

    def __init__(
        self,
        fd: int,
        size_bytes: int,
        *,
        create: bool,
        boot_id: bytes,
        doorbells: Sequence[int] = (),
        stripes: int = 0,
        entries: int = 0,
    ) -> None:
        """Map `fd` (already sized) and lay it out (`create`) or attach to what is there.

        `doorbells`: one eventfd per member (MEMBERS of them), or none when nobody waits. `stripes` and
        `entries` 0: derived from the size. Raises SegmentError when the size is too small (the message
        names the minimum). LayoutMismatch, with the reason, when what is there was not laid out by this
        code, for this size, in this boot; any file may be tried.
        """
    def adopt(self, now_ns: int, *, verify: bool = True) -> dict[str, int]:
        """Take over, after attaching, what dead processes left: every member is taken for dead.

        Keeps what is sound and gives back the rest, also where single bytes were damaged: objects kept,
        damaged ones dropped, half-made fills, zombies and pins given back. `verify`: compare the checksum
        of every body, which reads all of them. Raises LayoutMismatch when nobody could tell any more what
        was purged. Call only while no other process uses the segment, and before joining.
        """
    def join(self, member: int, now_ns: int) -> None:
        """Become `member`: called once by each process after the fork, before any other call."""
    def beat(self, now_ns: int) -> None:
        """Publish this member's heartbeat."""
    def member_info(self, member: int) -> MemberInfo: ...
    def reap(self, member: int) -> dict[str, int]:
        """Give back all that the dead process behind `member` held, and free its place.

        Pins, half-made entries, leases (ended as OWNER_DIED, waiters woken), presences, statistics folded.
        Counts for the log: pins, fills, zombies, leases, and skipped_stripes, those that a stopped
        process kept locked (not 0: reap again once that one is gone). Idempotent; may itself die and be
        repeated. Call only once the process is known to be gone.
        """
    def audit(self) -> list[str]:
        """Check that every page, chunk, entry, slot and pin is counted exactly once; the faults found.

        Takes the stripes one by one; exact only while nobody else works on the segment.
        """
    def occupancy(self) -> dict[str, int]:
        """pages_total, pages_used, entries_total, entries_used, bytes_stored (key+meta+body), objects."""
    def close(self) -> None:
        """Unmap. Only for the last user in this process; every object from here on is dead."""

@final
class PinnedBody:
    """A stored body lent out; implements worker.message.Pinned. Dropping the last reference releases it.

    The bytes stay unchanged, whatever becomes of the entry, until `release` was called and the last view
    is gone: a view keeps them as long as it lives. The kernel must have copied them by then (`send`,
    `sendmsg`; not `sendfile` or MSG_ZEROCOPY).
    """

    def __len__(self) -> int: ...
    def views(self, start: int = 0, stop: int | None = None) -> list[memoryview]:
        """One read-only view per contiguous run; `start` and `stop` as in a slice. ValueError once released."""
    def copy_out(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` to `stop` as an object of their own, and `release`: for readers that take long.

        Counted as pins_broken_off. Views that were taken before still hold the body.
        """
    def release(self) -> None: ...

@final
class Following:
    """A body lent out while another process still writes it (Fill.share); pinned like a PinnedBody."""

    meta: bytes
    flags: int
    verdict: int
    size: int | None  # bytes it will have; None: nobody knows
    fresh_until_ns: int

    def look(self) -> tuple[int, int]:
        """(RUNNING | WHOLE | BROKEN, bytes that may be read now); the bytes only grow, and not after RUNNING."""
    def views(self, start: int = 0, stop: int | None = None) -> list[memoryview]:
        """Read-only views of the bytes `look` last told of; as PinnedBody.views."""
    def release(self) -> None: ...

@final
class Hit:
    """One stored response as `get` found it; a snapshot."""

    verdict: int
    flags: int
    meta: bytes
    body: bytes | PinnedBody
    size: int
    fresh_until_ns: int

@final
class Entry:
    """What is stored under one key, as `entries` found it; no body and no meta."""

    key: bytes
    size: int  # bytes of body
    stored_bytes: int  # key, meta and body
    verdict: int
    fresh_until_ns: int  # or the moment of a soft purge, if that was earlier
    keep_until_ns: int
    swr_ns: int
    sie_ns: int
    tags: int  # how many it was given
    flags: int

@final
class Fill:
    """An entry being written. It becomes visible at `publish`, at once and whole, or never."""

    filled: int
    is_open: bool  # neither published nor aborted yet

    def share(self, ticket: int) -> bool:
        """Let those who wait for this lease of ours read along (Cache.follow); their doorbells ring at every write.

        Takes pages even for a body that would fit a chunk. False when the lease is no longer ours (the fill
        goes on), or when there is no room (it is aborted then).
        """
    def write(self, data: bytes | memoryview) -> bool:
        """Append. False when there is no room or the size limit is passed: the fill is aborted then. So it is when
        the body turns out to be one that `put` would refuse at first."""
    def publish(self) -> bool:
        """Make the entry visible in place of any older one of that key.

        False (and aborted) when fewer or more bytes came than `size` announced, or a purge since `born` hit it.
        """
    def abort(self) -> None:
        """Give everything back; safe to call twice and after `publish`."""

@final
class Cache:
    """Byte strings under byte-string keys, with deadlines. Full keys are compared, never hashes alone."""

    def get(self, key: bytes, now_ns: int) -> Hit | None:
        """The entry of `key` and how fresh it is; None when absent, purged or past `keep_until_ns`.

        One hit in 1,024 is compared with its checksums first (bodies up to 1 MiB): an entry that does not
        hold is dropped and counted as damaged.
        """
    def follow(self, key: bytes, ticket: int, now_ns: int) -> Following | None:
        """The body that the owner of that lease is writing under `key`, if it is shared.

        None as long as it is not, and when it has ended: look the key up then.
        """
    def put(
        self,
        key: bytes,
        meta: bytes,
        body: bytes,
        *,
        now_ns: int,
        fresh_until_ns: int,
        keep_until_ns: int,
        swr_ns: int = 0,
        sie_ns: int = 0,
        flags: int = 0,
        tags: Sequence[bytes] = (),
        born: int = 0,
    ) -> bool:
        """Store a whole body of any size; False when there is no room. Replaces an older entry atomically.

        `swr_ns`, `sie_ns`: lengths of the windows after `fresh_until_ns`, kept in units of 10 ms, rounded
        down, at most 497 days. `flags`: 0..255, the caller's
        own, handed back by `get`. `born`: `generation()` when the fetch began, so that a purge during
        it wins; 0 means now. `tags` are labels for `purge_tag`, at most 4096 of them. False as well when a
        purge since `born` hit it, when key, tags and meta are over 32 KiB, or the body over an eighth of the pages.
        A body over a hundredth of all pages enters a full cache only when its key is asked for again: False the first time.
        """
    def begin(
        self,
        key: bytes,
        meta: bytes,
        size: int | None,
        *,
        now_ns: int,
        fresh_until_ns: int,
        keep_until_ns: int,
        swr_ns: int = 0,
        sie_ns: int = 0,
        flags: int = 0,
        tags: Sequence[bytes] = (),
        born: int = 0,
        max_bytes: int = 0,
    ) -> Fill | None:
        """Start an entry whose body comes piece by piece; `size` None: unknown. None when there is no room."""
    def freshen(
        self, key: bytes, meta: bytes, *, now_ns: int, fresh_until_ns: int, keep_until_ns: int,
        swr_ns: int = 0, sie_ns: int = 0, flags: int = 0, tags: Sequence[bytes] | None = None, born: int = 0,
    ) -> bool:
        """New meta and deadlines for a stored body, the body kept (RFC 9111 4.3.4). False when it is gone.

        `tags` take the place of those it has; None: it keeps them.
        `born`: `generation()` when the origin was asked; a soft purge from before is over with this, one since
        then makes it stale again, and after a hard one the answer is False. 0 means now.
        """
    def purged_since(self, key: bytes, born: int, tags: Sequence[bytes] = ()) -> bool:
        """Would what a fetch brings that began at generation `born` be refused, because a hard purge has hit it since?"""
    def delete(self, key: bytes, soft_ns: int = 0) -> bool:
        """Purge one entry; whether there was one. A fetch of that key that began before cannot be stored.

        `soft_ns` not 0, the present moment: a soft purge, here and below. The entry stays and is stale from
        that moment (or from its own end of freshness, if that is earlier), so that its windows may still serve
        it; a fetch that began before is stored as stale as that. Of several soft purges between which nobody
        looked at the entry, the last counts. SegmentError if its stripe stays locked for two seconds (by
        a stopped process).
        """
    def purge_all(self, soft_ns: int = 0) -> int:
        """Purge everything stored so far, O(1); the new generation."""
    def purge_tag(self, tag: bytes, soft_ns: int = 0) -> int:
        """Purge everything that carries this tag, O(1); the new generation.

        Tags are told apart by a hash, 2**20 values in a large segment: a collision costs a miss.
        """
    def purge_prefix(self, prefix: bytes, soft_ns: int = 0) -> int:
        """Purge every key that begins with `prefix`; the new generation.

        O(1) where the prefix ends a directory of the key ("https://host/", "https://host/a/b/", eight levels),
        and for 256 others at a time that the crawler has not dealt with yet, up to 480 bytes long; beyond that
        every entry is looked at, and fetches under way are refused whatever their key (counted as
        prefix_sweeps). SegmentError when a stopped process is in the way: what was purged stays so, try again.
        """
    def generation(self) -> int:
        """Counter of purges: read when a fetch starts, given back as `born`."""
    def crawl(self, now_ns: int, entries: int = 256) -> int:
        """Look at up to `entries` more and drop those past keep_until or purged; how many.

        To be called some times a second by every process; never waits, and holds a stripe for some ten
        microseconds at a time. All processes share one position in each stripe.
        """
    def entries(
        self, after: int, limit: int, now_ns: int, prefix: bytes = b""
    ) -> tuple[list[Entry], int]:
        """What is stored and neither purged nor past keep_until, and where to go on: 0 at the end.

        Begin with `after` 0. At most `limit` (1..4096) entries whose keys begin with `prefix`, in no order; there may
        be none, and yet more to come, for one call looks at 65,536 entries at most. Releases the GIL, and holds a
        stripe for some microseconds at a time. Stripes that a stopped process keeps locked are passed over.
        """
    pinned_bytes: int  # of the bodies this process holds pinned

class Leases:
    """The right to fetch, one owner per key. Answers and endings are the numbers of `shmcache.endings`."""

    def claim(self, key: bytes, now_ns: int, lease_ns: int) -> tuple[int, int]:
        """(CLAIMED | WAIT | FULL, ticket). WAIT registers this member's doorbell until the ending.

        A lease past its deadline is taken over: the caller gets CLAIMED, the old owner's `release` is void.
        FULL, with ticket 0: every cell that could hold the key is another's lease; fetch without one.
        """
    def ending(self, ticket: int, now_ns: int) -> int:
        """How the lease of that ticket ended; PENDING while it runs (and its deadline has not passed).

        PENDING registers this member's doorbell again, so ask before each wait, and look at what progresses
        after asking.
        """
    def renew(self, ticket: int, now_ns: int, lease_ns: int) -> bool:
        """Lengthen a lease we own until now_ns + lease_ns; never shortens it.

        False when it was taken over or its deadline has passed: then others may be fetching.
        """
    def announce(self, ticket: int, note: int) -> bool:
        """Leave 64 bits for whoever holds the ticket of a lease we own, in the place of an older note.

        False when it was taken over. Rings nobody, see `progress`.
        """
    def note(self, ticket: int) -> int | None:
        """The owner's latest note, while the lease runs or after it ended as PUBLISHED; None otherwise.

        None as well before there is one, and once the cell of the lease was reused.
        """
    def progress(self, ticket: int) -> bool:
        """Ring the members that wait for a lease we own; each is rung again only after it asked `ending`.

        Make the progress visible first: then no waiter misses it. False, and nobody rung, when it was taken over.
        """
    def release(self, ticket: int, ending: int) -> None:
        """End a lease we own and ring the doorbell of every member that waits. Void if it was taken over."""

class TokenBuckets:
    """Exact rate decisions for all processes: GCRA, one compare-and-swap each.

    A table of fixed size, four cells to a set. A key keeps its cell while its bucket is not full and a second
    longer; then another key may take the cell over, which its former owner cannot notice. When all four cells of
    a set are in use, a new key of that set is granted without being counted (`bucket_table_full` tells how often),
    and keys that have a cell are limited as ever.
    """

    def take(self, key: bytes, now_ns: int, interval_ns: int, burst: int, cost: int = 1) -> int:
        """0: granted; otherwise nanoseconds until `cost` tokens will be there, and nothing was taken.

        `interval_ns` is the time one token takes to come back (1e9 / rate), `burst` the bucket's size.
        At most `burst` tokens are granted at once, and never more than burst + elapsed / interval_ns
        over any interval. ValueError unless interval_ns >= 1 and 1 <= cost <= burst.
        """
    def peek(self, key: bytes, now_ns: int, interval_ns: int, burst: int, cost: int = 1) -> int:
        """What `take` would say, without taking anything."""

class SlidingWindows:
    """Exact rate decisions for all processes: at most `limit` per sliding window, one compare-and-swap each.

    The rate is the weighted count of two windows: what the current one granted, and of the one before the share
    that a window ending now still overlaps. A key's first window starts in the second of its first grant.

    A table of fixed size, four cells to a set. A key keeps its cell until two windows after the start of its
    current one, when its counts weigh nothing, and a second longer; then another key may take the cell over,
    which its former owner cannot notice. When all four cells of a set are in use, a new key of that set is granted
    without being counted (`window_table_full` tells how often), and keys that have a cell are limited as ever.
    """

    def take(self, key: bytes, now_ns: int, window_s: int, limit: int, cost: int = 1) -> int:
        """0: granted; otherwise nanoseconds until `cost` will fit if nobody else is granted, and nothing was counted.

        `now_ns` is CLOCK_MONOTONIC; one older than the key's current window counts as its start. A key keeps one
        `window_s`: a change weighs its old counts by the new length. ValueError unless 1 <= window_s <= 2**20 and
        1 <= cost <= limit <= 262143.
        """
    def peek(self, key: bytes, now_ns: int, window_s: int, limit: int, cost: int = 1) -> int:
        """What `take` would say, without counting anything."""

@final
class Scoreboard:
    """Cells of words that every process may read and change, one per key; begins empty with every start.

    Never waits, and a process may die at any instant. A key keeps its cell as long as the segment is in use, so
    there are at most SCORES keys.
    """

    def claim(self, key: bytes) -> Score | None:
        """The cell of that key, the same for every process; its words are 0 at first.

        None when all cells belong to other keys (`scoreboard_full` tells how often): go on without.
        """

@final
class Score:
    """Seven unsigned 64-bit words; each call is one atomic access to one of them, 0 to SCORE_WORDS - 1.

    IndexError for another word, OverflowError for a value that does not fit.
    """

    def load(self, word: int) -> int: ...
    def store(self, word: int, value: int) -> None: ...
    def add(self, word: int, amount: int) -> int:
        """What the word is afterwards; it wraps at 2**64."""
    def swap(self, word: int, expected: int, value: int) -> bool:
        """Compare and swap: put `value` in the place of `expected`; False when something else stands there."""

PRESENCE_MOST: int  # of one key

# Answers of Presence.enter
OVER: int  # there are `most` already
ENTERED: int  # counted until `leave`
UNCOUNTED: int  # no room to count it in: let it in, and do not call `leave`

@final
class Presence:
    """How many there are at a time of each key, over all members; begins with none at every start.

    Exact: never more than `most` are in at once, whoever asks in whichever process. What a dead process had
    counts until it is reaped. When the table has no room for a new key it is let in uncounted
    (`presence_full` tells how often). Never waits.
    """

    def enter(self, key: bytes, most: int) -> int:
        """OVER, ENTERED or UNCOUNTED. ValueError unless 1 <= most <= PRESENCE_MOST; SegmentError before `join`."""
    def leave(self, key: bytes) -> None:
        """One less, of those this process has entered."""
    def count(self, key: bytes) -> int:
        """How many there are."""

class Statistics:
    """A page of counters per member, written without atomics by its owner only."""

    def add(self, index: int, amount: int = 1) -> None: ...
    def total(self, index: int) -> int: ...
    def totals(self) -> list[int]:
        """Sum over all members, living and retired: it never goes backwards."""
    def core(self) -> dict[str, int]:
        """Totals of the core's own counters by name: `CORE_TORN_READS` of counter.h is "torn_reads"."""
    def of(self, member: int) -> list[int]: ...
