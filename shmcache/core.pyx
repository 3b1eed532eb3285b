# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=False
"""Where Python meets the shared segment. Contracts and units are in core.pyi; the laws of memory in layout.h.

Nothing of Python is made or freed while a stripe is locked: a garbage collection there could release a pin
and wait for the lock it stands in. So every bytes object a call returns exists before the lock is taken.
"""

from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.unistd cimport getpid

from shmcache.errors import LayoutMismatch, SegmentError

MEMBERS = SHM_MEMBERS
LAYOUT_VERSION = SHM_LAYOUT_VERSION


# --- the mapping -----------------------------------------------------------------------------------------


cdef class Mapping:
    """The C view of the segment; lives as long as anything that uses it."""

    def __dealloc__(self):
        if self.map.base is not NULL:
            segment_close(&self.map)


cdef object _refusal(int answer, size_t size):
    """The error for a segment that could not be made or attached to."""
    if answer == SEGMENT_NO_MAP:
        return SegmentError(f"cannot map the {size} byte segment: errno {errno}; is the descriptor open and sized?")
    if answer == SEGMENT_NO_MEMORY:
        return SegmentError("no memory for this process's view of the segment")
    if answer == SEGMENT_TOO_SMALL:
        return SegmentError(
            f"a segment of {size} bytes is too small for its stripes and entries: give at least "
            f"{segment_minimum()} bytes, or fewer stripes and entries"
        )
    why = {
        SEGMENT_BAD_MAGIC: "it carries no segment's mark",
        SEGMENT_BAD_VERSION: f"its layout is not version {SHM_LAYOUT_VERSION}",
        SEGMENT_BAD_SHAPE: "its structures have other sizes",
        SEGMENT_BAD_SIZE: f"it was laid out for another size than {size} bytes",
        SEGMENT_BAD_BOOT: "it belongs to another boot, whose clock is gone",
        SEGMENT_NOT_READY: "its making was never finished",
    }[answer]
    return LayoutMismatch(f"cannot attach to the segment: {why}; remove it and start with an empty one")


class MemberInfo:
    __slots__ = ("epoch", "heartbeat_ns", "joined", "member", "pid", "started_ns")

    def __init__(self, member, pid, epoch, joined, started_ns, heartbeat_ns):
        self.member = member
        self.pid = pid
        self.epoch = epoch
        self.joined = joined
        self.started_ns = started_ns
        self.heartbeat_ns = heartbeat_ns


cdef class Segment:
    cdef Mapping mapping
    cdef readonly object cache
    cdef readonly object leases
    cdef readonly object buckets
    cdef readonly object statistics
    cdef readonly size_t size_bytes
    cdef tuple doorbells

    def __init__(self, int fd, size_t size_bytes, *, bint create, bytes boot_id, doorbells=(),
                 uint32_t stripes=0, uint32_t entries=0):
        cdef int answer
        if self.mapping is not None:
            raise SegmentError("this segment is open already")
        if len(boot_id) > SHM_BOOT_ID_MAX:
            raise ValueError(f"boot_id has {len(boot_id)} bytes, at most {SHM_BOOT_ID_MAX} fit")
        if doorbells and len(doorbells) != SHM_MEMBERS:
            raise ValueError(f"{len(doorbells)} doorbells given: one for each of {SHM_MEMBERS} members, or none")
        mapping = Mapping()
        if create:
            answer = segment_create(&mapping.map, fd, size_bytes, boot_id, len(boot_id), stripes, entries)
        else:
            answer = segment_attach(&mapping.map, fd, size_bytes, boot_id, len(boot_id))
        if answer != SEGMENT_OK:
            raise _refusal(answer, size_bytes)
        self.mapping = mapping
        self.size_bytes = size_bytes
        self.doorbells = tuple(doorbells)
        self._open()

    cdef int _open(self) except -1:
        """Make the faces of the regions."""
        self.cache = None
        self.leases = Leases(self.mapping, self.doorbells)
        self.buckets = TokenBuckets(self.mapping)
        self.statistics = Statistics(self.mapping)
        return 0

    cdef shm *_map(self) except NULL:
        if self.mapping is None or self.mapping.map.base is NULL:
            raise SegmentError("the segment is closed")
        return &self.mapping.map

    def join(self, int member, int64_t now_ns):
        cdef shm *map = self._map()
        if not 0 <= member < SHM_MEMBERS:
            raise ValueError(f"member {member} is outside 0..{SHM_MEMBERS - 1}")
        if segment_join(map, member, getpid(), now_ns) != 0:
            raise MemoryError("no memory to count this member's pins")

    def beat(self, int64_t now_ns):
        cdef shm *map = self._map()
        if map.member < 0:
            raise SegmentError("join the segment before beating")
        map.members[map.member].heartbeat_ns = now_ns

    def member_info(self, int member):
        cdef shm *map = self._map()
        if not 0 <= member < SHM_MEMBERS:
            raise ValueError(f"member {member} is outside 0..{SHM_MEMBERS - 1}")
        place = &map.members[member]
        return MemberInfo(member, place.pid, place.epoch, bool(place.joined), place.started_ns,
                          place.heartbeat_ns)

    def close(self):
        if self.mapping is not None and self.mapping.map.base is not NULL:
            segment_close(&self.mapping.map)


# --- leases (lease.h) --------------------------------------------------------------------------------------

CLAIMED = LEASE_CLAIMED
WAIT = LEASE_WAIT
FULL = LEASE_FULL

PENDING = LEASE_PENDING
PUBLISHED = LEASE_PUBLISHED
NOT_STORABLE = LEASE_NOT_STORABLE
FAILED = LEASE_FAILED
OWNER_DIED = LEASE_OWNER_DIED
TOO_SLOW = LEASE_TOO_SLOW
UNKNOWN = LEASE_UNKNOWN


cdef class Leases:
    cdef Mapping mapping
    cdef lease_table table
    cdef int[SHM_MEMBERS] doorbells

    def __cinit__(self, Mapping mapping, tuple doorbells):
        self.mapping = mapping
        self.table.region = segment_region(&mapping.map, REGION_LEASES)
        self.table.cells = SHM_LEASES
        for member in range(SHM_MEMBERS):
            self.doorbells[member] = doorbells[member] if doorbells else -1
        self.table.doorbells = self.doorbells

    cdef lease_table *_table(self, bint joined) except NULL:
        """The C view, as the process stands now: its member is known only after the fork."""
        cdef shm *map = &self.mapping.map
        if map.base is NULL:
            raise SegmentError("the segment is closed")
        if joined and map.member < 0:
            raise SegmentError("join the segment before claiming or releasing a lease")
        self.table.member = map.member
        self.table.epoch = map.epoch
        return &self.table

    def claim(self, bytes key, uint64_t now_ns, uint64_t lease_ns):
        cdef lease_table *table = self._table(True)
        cdef shm *map = &self.mapping.map
        cdef uint64_t ticket
        cdef uint64_t taken_over = table.taken_over
        cdef int answer = lease_claim(table, segment_hash(map, <char *>key, len(key)), now_ns, lease_ns, &ticket)
        if table.taken_over != taken_over:
            counter_add(map.statistics, map.member, CORE_LEASES_TAKEN_OVER, table.taken_over - taken_over)
        if answer == LEASE_FULL:
            counter_add(map.statistics, map.member, CORE_LEASE_TABLE_FULL, 1)
        return answer, ticket

    def ending(self, uint64_t ticket, uint64_t now_ns):
        return c_lease_ending(self._table(False), ticket, now_ns)

    def release(self, uint64_t ticket, int ending):
        if not LEASE_PUBLISHED <= ending <= LEASE_UNKNOWN:
            raise ValueError(f"{ending} is not an ending of a lease: give PUBLISHED, NOT_STORABLE, FAILED...")
        lease_release(self._table(True), ticket, ending)

    def live(self):
        return lease_live(self._table(False))

    cdef size_t reap(self, int member, uint32_t epoch) except? 0:
        return lease_reap(self._table(False), member, epoch)


# --- token buckets (bucket.h) ------------------------------------------------------------------------------


cdef class TokenBuckets:
    cdef Mapping mapping
    cdef bucket_table table

    def __cinit__(self, Mapping mapping):
        self.mapping = mapping
        self.table.region = segment_region(&mapping.map, REGION_BUCKETS)
        self.table.cells = mapping.map.header.bucket_cells

    def take(self, bytes key, uint64_t now_ns, uint64_t interval_ns, uint64_t burst, uint64_t cost=1):
        cdef shm *map = &self.mapping.map
        cdef int64_t wait_ns
        if map.base is NULL:
            raise SegmentError("the segment is closed")
        if interval_ns < 1 or cost < 1 or cost > burst:
            raise ValueError(
                f"a token bucket needs interval_ns >= 1 and 1 <= cost <= burst, not "
                f"interval_ns={interval_ns}, cost={cost}, burst={burst}"
            )
        wait_ns = bucket_take(&self.table, segment_hash(map, <char *>key, len(key)), now_ns, interval_ns,
                              burst, cost)
        if wait_ns == BUCKET_FULL:
            counter_add(map.statistics, map.member, CORE_BUCKET_TABLE_FULL, 1)
            return 0
        return wait_ns

    def active(self, uint64_t now_ns):
        if self.mapping.map.base is NULL:
            raise SegmentError("the segment is closed")
        return bucket_active(&self.table, now_ns)


# --- statistics (counter.h) --------------------------------------------------------------------------------

STATISTICS = COUNTER_SLOTS
USER_STATISTICS = COUNTER_USER
CORE_STATISTICS = (  # names of enum core_counter, in its order
    "repairs", "lock_timeouts", "evictions", "expired", "no_room", "leases_taken_over", "lease_table_full",
    "bucket_table_full", "reaps", "reaped_pins", "reaped_fills", "reaped_leases", "torn_reads",
)
assert len(CORE_STATISTICS) == CORE_COUNTERS


cdef class Statistics:
    cdef Mapping mapping

    def __cinit__(self, Mapping mapping):
        self.mapping = mapping

    cdef void *_region(self) except NULL:
        if self.mapping.map.base is NULL:
            raise SegmentError("the segment is closed")
        return self.mapping.map.statistics

    def add(self, unsigned int index, int64_t amount=1):
        if index >= COUNTER_SLOTS:
            raise IndexError(f"statistic {index} is outside 0..{COUNTER_SLOTS - 1}")
        counter_add(self._region(), self.mapping.map.member, index, <uint64_t>amount)

    def total(self, unsigned int index):
        if index >= COUNTER_SLOTS:
            raise IndexError(f"statistic {index} is outside 0..{COUNTER_SLOTS - 1}")
        return counter_total(self._region(), index)

    def totals(self):
        cdef uint64_t[COUNTER_SLOTS] counts
        counter_totals(self._region(), counts)
        return [counts[index] for index in range(COUNTER_SLOTS)]

    def of(self, int member):
        cdef uint64_t[COUNTER_SLOTS] counts
        if not 0 <= member < SHM_MEMBERS:
            raise ValueError(f"member {member} is outside 0..{SHM_MEMBERS - 1}")
        counter_of(self._region(), member, counts)
        return [counts[index] for index in range(COUNTER_SLOTS)]

    cdef int retire(self, int member) except -1:
        counter_retire(self._region(), member)
        return 0


def _arm_fault(long n):
    """Die at the n-th fault point from now (0: not at all); points passed since the last call, -1 without any."""
    return fault_arm(n)
