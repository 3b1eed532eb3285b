# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=False
"""Where Python meets the shared segment. Contracts and units are in core.pyi; the laws of memory in layout.h.

Nothing of Python is made or freed while a stripe is locked: a garbage collection there could release a pin
and wait for the lock it stands in. So every bytes object a call returns exists before the lock is taken.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.unistd cimport getpid

from shmcache.errors import LayoutMismatch, SegmentError

MEMBERS = SHM_MEMBERS
LAYOUT_VERSION = SHM_LAYOUT_VERSION
PAGE_BYTES = SHM_PAGE

cdef enum:
    _COPY_BYTES = 32768  # what one chunk can hold
    _READS = 64  # optimistic copies tried before a constantly rewritten key counts as missed
    _AUDIT_BYTES = 1 << 20
    _DELETE_PATIENCE_NS = 2000000000
    _WALK_MAX = 4096  # entries told of in one call
    _WALK_KEY_BYTES = 1 << 18


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
        SEGMENT_BAD_LENGTH: f"its file does not have the {size} bytes it should have",
        SEGMENT_BAD_SIZE: f"it was laid out for another size than {size} bytes",
        SEGMENT_BAD_BOOT: "it belongs to another boot, whose clock is gone, or what is stored has another format",
        SEGMENT_NOT_READY: "its making was never finished",
        SEGMENT_BAD_PLAN: "its table of contents is damaged",
        SEGMENT_BAD_PURGES: "its record of purges is damaged",
    }[answer]
    return LayoutMismatch(f"cannot attach to the segment: {why}")


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
    cdef readonly object windows
    cdef readonly object scoreboard
    cdef readonly object presence
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
        self.leases = Leases(self.mapping, self.doorbells)
        self.cache = Cache(self.mapping, self.leases)
        self.buckets = TokenBuckets(self.mapping)
        self.windows = SlidingWindows(self.mapping)
        self.scoreboard = Scoreboard(self.mapping)
        self.presence = Presence(self.mapping)
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

    def adopt(self, uint64_t now_ns, *, bint verify=True):
        cdef shm *map = self._map()
        cdef c_adopted taken
        cdef int answer
        if map.member >= 0:
            raise SegmentError("adopt the segment before joining it: whoever is a member now would be taken for dead")
        with nogil:
            answer = segment_adopt(map, now_ns, verify, &taken)
        if answer != SEGMENT_OK:
            raise _refusal(answer, self.size_bytes)
        return {"objects": taken.objects, "damaged": taken.damaged, "fills": taken.fills,
                "zombies": taken.zombies, "pins": taken.pins}

    def reap(self, int member):
        cdef shm *map = self._map()
        cdef reaped given
        if not 0 <= member < SHM_MEMBERS:
            raise ValueError(f"member {member} is outside 0..{SHM_MEMBERS - 1}")
        if member == map.member:
            raise ValueError(f"member {member} is this very process: only the dead are reaped")
        given.pins = given.fills = given.zombies = given.skipped = 0
        epoch = map.members[member].epoch
        with nogil:
            reap_member(map, member, &given)
        leases = (<Leases>self.leases).reap(member, epoch)
        (<Statistics>self.statistics).retire(member)
        counter_add(map.statistics, map.member, CORE_REAPS, 1)
        counter_add(map.statistics, map.member, CORE_REAPED_PINS, given.pins)
        counter_add(map.statistics, map.member, CORE_REAPED_FILLS, given.fills)
        counter_add(map.statistics, map.member, CORE_REAPED_LEASES, leases)
        return {"pins": given.pins, "fills": given.fills, "zombies": given.zombies, "leases": leases,
                "skipped_stripes": given.skipped}

    def audit(self):
        cdef shm *map = self._map()
        cdef char *out = <char *>malloc(_AUDIT_BYTES)
        cdef size_t faults
        if out is NULL:
            raise MemoryError
        try:
            with nogil:
                faults = c_audit(map, out, _AUDIT_BYTES)
            found = (<bytes>out).decode().splitlines()
        finally:
            free(out)
        if faults > <size_t>len(found):
            found.append(f"and {faults - len(found)} more")
        return found

    def occupancy(self):
        cdef c_occupancy taken
        c_take_occupancy(self._map(), &taken)
        return {"pages_total": taken.pages_total, "pages_used": taken.pages_used,
                "entries_total": taken.entries_total, "entries_used": taken.entries_used,
                "bytes_stored": taken.bytes_stored, "objects": taken.objects}

    def close(self):
        if self.mapping is not None and self.mapping.map.base is not NULL:
            segment_close(&self.mapping.map)


# --- cache (read.h, fill.h) ----------------------------------------------------------------------------------

COPY_BYTES = _COPY_BYTES

FRESH = VERDICT_FRESH
STALE_WHILE_REVALIDATE = VERDICT_SWR
STALE_IF_ERROR = VERDICT_SIE
EXPIRED = VERDICT_EXPIRED

RUNNING = FOLLOW_RUNNING
WHOLE = FOLLOW_WHOLE
BROKEN = FOLLOW_BROKEN


@cython.final
cdef class _Run:
    """Bytes of a pinned body that lie in one piece, as a read-only buffer."""

    cdef PinnedBody body
    cdef const uint8_t *bytes
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.bytes, self.size, 1, flags)
        self.body.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.body.exports -= 1
        self.body._settle()


@cython.final
@cython.freelist(32)
cdef class PinnedBody:
    cdef Mapping mapping
    cdef uint64_t size
    cdef uint64_t counted
    cdef uint32_t entry
    cdef uint32_t epoch
    cdef int member
    cdef int exports
    cdef bint pinned
    cdef bint released

    def __dealloc__(self):
        self.exports = 0
        self.released = True
        self._settle()

    def __len__(self):
        return self.size

    def views(self, start=0, stop=None):
        """Read-only views that together are the body from `start` up to `stop`."""
        cdef uint64_t at, end
        cdef _Run run
        if not self.pinned or self.released:
            raise ValueError("the body was released")
        at, end, _ = slice(start, stop).indices(self.size)
        runs = []
        while at < end:
            run = _Run.__new__(_Run)
            run.body = self
            run.size = min(read_run(&self.mapping.map, self.entry, self.size, at, &run.bytes), end - at)
            at += run.size
            runs.append(memoryview(run))
        return runs

    def release(self):
        """Give the body back once no view of it is left. Safe to call twice."""
        self.released = True
        self._settle()

    def copy_out(self, start=0, stop=None):
        """The bytes from `start` up to `stop` as an object of their own; the body is released."""
        if not self.pinned or self.released:
            raise ValueError("the body was released")
        copied = b"".join(self.views(start, stop))
        counter_add(self.mapping.map.statistics, self.mapping.map.member, CORE_PINS_BROKEN_OFF, 1)
        self.release()
        return copied

    cdef int _hold(self, Mapping mapping, uint32_t entry, uint64_t size) noexcept:
        """Become the owner of a pin just taken."""
        self.mapping = mapping
        self.entry = entry
        self.size = self.counted = size
        self.member = mapping.map.member
        self.epoch = mapping.map.epoch
        self.pinned = True
        mapping.map.pinned_bytes += size
        return 0

    cdef int _settle(self) noexcept:
        """Let go when it was released and nobody looks any more."""
        cdef shm *map
        if not (self.pinned and self.released) or self.exports:
            return 0
        self.pinned = False
        map = &self.mapping.map
        if map.base is not NULL and map.member == self.member and map.epoch == self.epoch:
            map.pinned_bytes -= self.counted
            read_unpin(map, self.entry)
        return 0


@cython.final
@cython.freelist(64)
cdef class Hit:
    pass


@cython.final
cdef class Entry:
    cdef readonly bytes key
    cdef readonly uint64_t size
    cdef readonly uint64_t stored_bytes
    cdef readonly int64_t fresh_until_ns
    cdef readonly int64_t keep_until_ns
    cdef readonly int64_t swr_ns
    cdef readonly int64_t sie_ns
    cdef readonly int tags
    cdef readonly int flags
    cdef readonly int verdict


cdef Entry _entry(const walked *seen, const uint8_t *keys):
    cdef Entry entry = Entry.__new__(Entry)
    entry.key = PyBytes_FromStringAndSize(<const char *>keys + seen.key_at, seen.key_len)
    entry.size = seen.size
    entry.stored_bytes = seen.size + seen.key_len + seen.meta_len
    entry.fresh_until_ns = seen.fresh_until_ns
    entry.keep_until_ns = seen.keep_until_ns
    entry.swr_ns = seen.swr_ns
    entry.sie_ns = seen.sie_ns
    entry.tags = seen.tags
    entry.flags = seen.flags
    entry.verdict = seen.verdict
    return entry


@cython.final
cdef class Following:
    cdef PinnedBody pinned
    cdef readonly bytes meta
    cdef readonly int flags
    cdef readonly int verdict
    cdef readonly object size
    cdef readonly int64_t fresh_until_ns

    def look(self):
        """(RUNNING | WHOLE | BROKEN, bytes that may be read)"""
        cdef uint64_t filled
        cdef int state
        if not self.pinned.pinned:
            raise ValueError("the body was released")
        state = follow_look(&self.pinned.mapping.map, self.pinned.entry, &filled)
        self.pinned.size = filled
        return state, filled

    def views(self, start=0, stop=None):
        """Read-only views of what `look` last said may be read, from `start` up to `stop`."""
        return self.pinned.views(start, stop)

    def release(self):
        """Give the body back once no view of it is left. Safe to call twice."""
        self.pinned.release()


@cython.final
cdef class Fill:
    cdef Mapping mapping
    cdef Leases leases
    cdef fill fill
    cdef uint64_t ticket
    cdef uint32_t[SHM_LEVELS] few
    cdef uint32_t *tags
    cdef bytes key
    cdef bytes meta

    def __dealloc__(self):
        if self.mapping is not None and self.mapping.map.base is not NULL:
            fill_abort(&self.mapping.map, &self.fill)
        free(self.tags)

    @property
    def filled(self):
        """Bytes written so far."""
        return self.fill.filled

    @property
    def is_open(self):
        """False once it was published or aborted."""
        return self._usable()

    cdef bint _usable(self):
        return self.fill.open and self.mapping.map.member >= 0

    cdef int _ring(self) except -1:
        """Tell those who follow that there is more, or an end."""
        if self.ticket:
            lease_progress(self.leases._table(True), self.ticket)
        return 0

    def share(self, uint64_t ticket):
        cdef shm *map = &self.mapping.map
        if not self._usable() or fill_settle(map, &self.fill) != STORE_DONE:
            return False
        if not lease_announce(self.leases._table(True), ticket, follow_word(self.fill.ctl, self.fill.entry)):
            return False
        self.ticket = ticket
        self._ring()
        return True

    def write(self, data):
        cdef Py_buffer view
        cdef int answer
        if not self._usable():
            return False
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        answer = fill_write(&self.mapping.map, &self.fill, <const uint8_t *>view.buf, view.len)
        PyBuffer_Release(&view)
        self._ring()
        return answer == STORE_DONE

    def publish(self):
        cdef shm *map = &self.mapping.map
        cdef int answer
        if not self._usable():
            return False
        answer = fill_publish(map, &self.fill, 0)
        if answer == STORE_BUSY:
            with nogil:
                answer = fill_publish(map, &self.fill, WRITE_PATIENCE_NS)
            if answer == STORE_BUSY:
                counter_add(map.statistics, map.member, CORE_LOCK_TIMEOUTS, 1)
                fill_abort(map, &self.fill)
        self._ring()
        return answer == STORE_DONE

    def abort(self):
        if self._usable():
            fill_abort(&self.mapping.map, &self.fill)
            self._ring()


cdef int _copy_pinned(shm *map, uint32_t entry, uint64_t size, uint8_t *to) noexcept:
    cdef uint64_t at = 0, run
    cdef const uint8_t *bytes
    while at < size:
        run = read_run(map, entry, size, at, &bytes)
        memcpy(to + at, bytes, run)
        at += run
    return 0


@cython.final
cdef class Cache:
    cdef Mapping mapping
    cdef Leases leases

    def __cinit__(self, Mapping mapping, Leases leases):
        self.mapping = mapping
        self.leases = leases

    cdef shm *_joined(self) except NULL:
        if self.mapping.map.member < 0:
            if self.mapping.map.base is NULL:
                raise SegmentError("the segment is closed")
            raise SegmentError("join the segment before using its cache")
        return &self.mapping.map

    cdef shm *_open(self) except NULL:
        if self.mapping.map.base is NULL:
            raise SegmentError("the segment is closed")
        return &self.mapping.map

    cdef uint32_t *_slots(self, bytes key, tags, note *noted, uint32_t *few) except? NULL:
        """The slots of the key's directories and of the tags, named in the note: in `few`, or, if there are
        tags, in a block the caller frees."""
        cdef shm *map = &self.mapping.map
        cdef Py_ssize_t count = len(tags)
        cdef uint32_t *slots = few
        if count > SHM_TAGS_MAX:
            raise ValueError(f"{count} tags given, an entry may carry {SHM_TAGS_MAX}")
        if count:
            slots = <uint32_t *>malloc((count + SHM_LEVELS) * sizeof(uint32_t))
            if slots is NULL:
                raise MemoryError
        noted.tags = slots
        noted.tag_count = purge_levels(map, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), slots)
        if not count:
            return NULL
        try:
            for i in range(count):
                tag = <bytes?>tags[i]
                slots[noted.tag_count] = purge_tag_slot(map, <const uint8_t *><char *>tag, len(tag))
                noted.tag_count += 1
        except BaseException:
            free(slots)
            raise
        return slots

    cdef int _note(self, note *noted, bytes meta, int64_t fresh_until_ns, int64_t keep_until_ns, int64_t swr_ns,
                   int64_t sie_ns, uint8_t flags, uint64_t born) noexcept:
        noted.meta = <const uint8_t *>PyBytes_AS_STRING(meta)
        noted.meta_len = <uint32_t>min(len(meta), 0xffffffff)
        noted.fresh_until_ns = fresh_until_ns
        noted.keep_until_ns = keep_until_ns
        noted.swr_ns = swr_ns if swr_ns > 0 else 0
        noted.sie_ns = sie_ns if sie_ns > 0 else 0
        noted.flags = flags
        noted.born = born if born else purge_generation(&self.mapping.map)
        noted.tags = NULL
        noted.tag_count = 0
        return 0

    def get(self, bytes key not None, int64_t now_ns):
        cdef shm *map = self._joined()
        cdef c_key sought
        cdef found seen
        cdef int answer
        cdef Hit hit
        cdef PinnedBody pinned
        cdef int attempt
        key_make(map, &sought, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        for attempt in range(_READS):
            answer = read_find(map, &sought, now_ns, &seen)
            if answer == READ_DROP:
                store_drop(map, &sought, seen.entry, seen.ctl, CORE_PURGED if seen.purged else CORE_EXPIRED)
            if answer != READ_HIT:
                break
            if not read_sound(map, &seen):
                store_drop(map, &sought, seen.entry, seen.ctl, CORE_DAMAGED)
                break
            hit = Hit.__new__(Hit)
            hit.meta = PyBytes_FromStringAndSize(NULL, seen.meta_len)
            hit.verdict = seen.verdict
            hit.flags = seen.flags
            hit.size = seen.size
            hit.fresh_until_ns = seen.fresh_until_ns
            if not seen.large:
                body = PyBytes_FromStringAndSize(NULL, seen.size)
                hit.body = body
                if seen.meta_len:
                    read_copy(map, &seen, seen.meta_at, PyBytes_AS_STRING(hit.meta), seen.meta_len)
                if seen.size:
                    read_copy(map, &seen, seen.body_at, PyBytes_AS_STRING(body), seen.size)
                if read_same(map, &seen):
                    counter_add(map.statistics, map.member, CORE_HITS_SMALL, 1)
                    return hit
                continue
            body = PyBytes_FromStringAndSize(NULL, seen.size) if seen.size <= _COPY_BYTES else None
            pinned = PinnedBody.__new__(PinnedBody)
            if not read_pin(map, &seen):
                continue
            pinned._hold(self.mapping, seen.entry, seen.size)
            if seen.meta_len:
                read_copy(map, &seen, seen.meta_at, PyBytes_AS_STRING(hit.meta), seen.meta_len)
            if not read_same(map, &seen):
                continue
            hit.body = pinned
            if body is not None:
                _copy_pinned(map, seen.entry, seen.size, <uint8_t *>PyBytes_AS_STRING(body))
                hit.body = body
            counter_add(map.statistics, map.member, CORE_HITS_LARGE, 1)
            return hit
        counter_add(map.statistics, map.member, CORE_MISSES, 1)
        return None

    def follow(self, bytes key not None, uint64_t ticket, int64_t now_ns):
        cdef shm *map = self._joined()
        cdef c_key sought
        cdef found seen
        cdef uint64_t word, announced
        cdef Following following
        if not lease_note(self.leases._table(True), ticket, &word) or not word:
            return None
        key_make(map, &sought, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        pinned = PinnedBody.__new__(PinnedBody)
        if not follow_begin(map, word, &sought, now_ns, &seen, &announced):
            return None
        (<PinnedBody>pinned)._hold(self.mapping, seen.entry, 0)
        following = Following.__new__(Following)
        following.pinned = pinned
        following.meta = PyBytes_FromStringAndSize(NULL, seen.meta_len)
        if seen.meta_len and not follow_meta(map, &seen, PyBytes_AS_STRING(following.meta)):
            return None
        following.flags = seen.flags
        following.verdict = seen.verdict
        following.fresh_until_ns = seen.fresh_until_ns
        following.size = None if announced == 0xffffffffffffffff else announced
        return following

    def put(self, bytes key not None, bytes meta not None, bytes body not None, *, int64_t now_ns,
            int64_t fresh_until_ns, int64_t keep_until_ns, int64_t swr_ns=0, int64_t sie_ns=0, uint8_t flags=0,
            tags=(), uint64_t born=0):
        cdef shm *map = self._joined()
        cdef c_key sought
        cdef note noted
        cdef int answer
        cdef uint32_t[SHM_LEVELS] few
        cdef uint32_t *slots
        cdef const uint8_t *bytes_ = <const uint8_t *>PyBytes_AS_STRING(body)
        cdef uint64_t size = PyBytes_GET_SIZE(body)
        map.now_ns = now_ns
        key_make(map, &sought, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        self._note(&noted, meta, fresh_until_ns, keep_until_ns, swr_ns, sie_ns, flags, born)
        slots = self._slots(key, tags, &noted, few)
        answer = store_body(map, &sought, &noted, bytes_, size, 0)
        if answer == STORE_BUSY:
            with nogil:
                answer = store_body(map, &sought, &noted, bytes_, size, WRITE_PATIENCE_NS)
            if answer == STORE_BUSY:
                counter_add(map.statistics, map.member, CORE_LOCK_TIMEOUTS, 1)
        free(slots)
        return answer == STORE_DONE

    def begin(self, bytes key not None, bytes meta not None, size, *, int64_t now_ns, int64_t fresh_until_ns,
              int64_t keep_until_ns, int64_t swr_ns=0, int64_t sie_ns=0, uint8_t flags=0, tags=(),
              uint64_t born=0, uint64_t max_bytes=0):
        cdef shm *map = self._joined()
        cdef Fill filling = Fill.__new__(Fill)
        cdef uint64_t announced = 0xffffffffffffffff if size is None else size
        map.now_ns = now_ns
        filling.key = key
        filling.meta = meta
        self._note(&filling.fill.note, meta, fresh_until_ns, keep_until_ns, swr_ns, sie_ns, flags, born)
        filling.leases = self.leases
        filling.tags = self._slots(key, tags, &filling.fill.note, filling.few)
        key_make(map, &filling.fill.key, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        filling.mapping = self.mapping
        if not fill_open(map, &filling.fill, announced, max_bytes):
            return None
        return filling

    def freshen(self, bytes key not None, bytes meta not None, *, int64_t now_ns, int64_t fresh_until_ns,
                int64_t keep_until_ns, int64_t swr_ns=0, int64_t sie_ns=0, uint8_t flags=0, tags=None,
                uint64_t born=0):
        cdef shm *map = self._joined()
        cdef c_key sought
        cdef note noted
        cdef int answer
        cdef uint32_t[SHM_LEVELS] few
        cdef uint32_t *slots = NULL
        map.now_ns = now_ns
        key_make(map, &sought, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        self._note(&noted, meta, fresh_until_ns, keep_until_ns, swr_ns, sie_ns, flags, born)
        if tags is not None:
            slots = self._slots(key, tags, &noted, few)
        answer = store_freshen(map, &sought, &noted, 0)
        if answer == STORE_BUSY:
            with nogil:
                answer = store_freshen(map, &sought, &noted, WRITE_PATIENCE_NS)
            if answer == STORE_BUSY:
                counter_add(map.statistics, map.member, CORE_LOCK_TIMEOUTS, 1)
        free(slots)
        return answer == STORE_DONE

    def purged_since(self, bytes key not None, uint64_t born, tags=()):
        cdef shm *map = self._open()
        cdef c_key sought
        cdef note noted
        cdef uint32_t[SHM_LEVELS] few
        cdef uint32_t *slots
        cdef bint purged
        key_make(map, &sought, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        self._note(&noted, key, 0, 0, 0, 0, 0, born)
        slots = self._slots(key, tags, &noted, few)
        purged = fill_is_purged(map, &sought, &noted)
        free(slots)
        return purged

    def delete(self, bytes key not None, int64_t soft_ns=0):
        cdef shm *map = self._open()
        cdef c_key sought
        cdef int answer
        key_make(map, &sought, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        answer = store_delete(map, &sought, soft_ns, 0)
        if answer == STORE_BUSY:
            with nogil:
                answer = store_delete(map, &sought, soft_ns, _DELETE_PATIENCE_NS)
            if answer == STORE_BUSY:
                counter_add(map.statistics, map.member, CORE_LOCK_TIMEOUTS, 1)
                raise SegmentError("the entry could not be deleted: its stripe stays locked by a stopped process")
        return answer == STORE_DONE

    def purge_all(self, int64_t soft_ns=0):
        return purge_everything(self._open(), soft_ns)

    def purge_tag(self, bytes tag not None, int64_t soft_ns=0):
        cdef shm *map = self._open()
        cdef uint32_t slot = purge_tag_slot(map, <const uint8_t *>PyBytes_AS_STRING(tag), PyBytes_GET_SIZE(tag))
        return c_purge_tag(map, slot, soft_ns)

    def purge_prefix(self, bytes prefix not None, int64_t soft_ns=0):
        cdef shm *map = self._open()
        cdef const uint8_t *bytes_ = <const uint8_t *>PyBytes_AS_STRING(prefix)
        cdef size_t size = PyBytes_GET_SIZE(prefix)
        cdef uint64_t generation
        with nogil:
            generation = c_purge_prefix(map, bytes_, size, soft_ns)
        if not generation:
            counter_add(map.statistics, map.member, CORE_LOCK_TIMEOUTS, 1)
            raise SegmentError("the prefix could not be purged: a stopped process stands in the way; try again")
        return generation

    def crawl(self, int64_t now_ns, uint32_t entries=256):
        cdef crawled seen
        c_crawl(self._joined(), now_ns, entries, &seen)
        return seen.expired + seen.purged

    def entries(self, uint32_t after, uint32_t limit, int64_t now_ns, bytes prefix=b""):
        cdef shm *map = self._open()
        cdef c_walk walk
        cdef uint32_t total = map.header.stripes * map.header.per_stripe
        cdef walked *out
        if not 1 <= limit <= _WALK_MAX or after > total:
            raise ValueError(f"entries are told of 1 to {_WALK_MAX} at a time, and there are {total}")
        out = <walked *>malloc(limit * sizeof(walked) + _WALK_KEY_BYTES)
        if out is NULL:
            raise MemoryError
        walk.prefix, walk.prefix_len = <const uint8_t *>PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix)
        walk.now_ns, walk.at, walk.limit, walk.out = now_ns, after, limit, out
        walk.keys, walk.room = <uint8_t *>(out + limit), _WALK_KEY_BYTES
        walk.found = walk.used = 0
        with nogil:
            c_walk_on(map, &walk)
        try:
            seen = [_entry(&out[number], walk.keys) for number in range(walk.found)]
        finally:
            free(out)
        return seen, 0 if walk.at == total else walk.at

    @property
    def pinned_bytes(self):
        """Bytes of the bodies this process holds pinned."""
        return self._open().pinned_bytes

    def generation(self):
        return purge_generation(self._open())


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
        self.table.statistics = mapping.map.statistics

    cdef lease_table *_table(self, bint joined) except NULL:
        """The C view, as the process stands now: its member is known only after the fork."""
        cdef shm *map = &self.mapping.map
        if map.base is NULL:
            raise SegmentError("the segment is closed")
        if joined and map.member < 0:
            raise SegmentError("join the segment before claiming a lease or changing one")
        self.table.member = map.member
        self.table.epoch = map.epoch
        return &self.table

    def claim(self, bytes key, uint64_t now_ns, uint64_t lease_ns):
        cdef lease_table *table = self._table(True)
        cdef shm *map = &self.mapping.map
        cdef uint64_t ticket
        cdef int answer = lease_claim(table, segment_hash(map, <char *>key, len(key)), now_ns, lease_ns, &ticket)
        return answer, ticket

    def ending(self, uint64_t ticket, uint64_t now_ns):
        return c_lease_ending(self._table(False), ticket, now_ns)

    def renew(self, uint64_t ticket, uint64_t now_ns, uint64_t lease_ns):
        return lease_renew(self._table(True), ticket, now_ns, lease_ns)

    def announce(self, uint64_t ticket, uint64_t note):
        return lease_announce(self._table(True), ticket, note)

    def note(self, uint64_t ticket):
        cdef uint64_t note
        return note if lease_note(self._table(False), ticket, &note) else None

    def progress(self, uint64_t ticket):
        return lease_progress(self._table(True), ticket)

    def release(self, uint64_t ticket, int ending):
        if not LEASE_PUBLISHED <= ending <= LEASE_UNKNOWN:
            raise ValueError(f"{ending} is not an ending of a lease: give PUBLISHED, NOT_STORABLE, FAILED...")
        lease_release(self._table(True), ticket, ending)

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
        check_bucket(map, interval_ns, burst, cost)
        wait_ns = bucket_take(&self.table, segment_hash(map, <char *>key, len(key)), now_ns, interval_ns,
                              burst, cost)
        if wait_ns == BUCKET_FULL:
            counter_add(map.statistics, map.member, CORE_BUCKET_TABLE_FULL, 1)
            return 0
        return wait_ns

    def peek(self, bytes key, uint64_t now_ns, uint64_t interval_ns, uint64_t burst, uint64_t cost=1):
        cdef shm *map = &self.mapping.map
        check_bucket(map, interval_ns, burst, cost)
        return bucket_peek(&self.table, segment_hash(map, <char *>key, len(key)), now_ns, interval_ns, burst, cost)


cdef int check_bucket(shm *map, uint64_t interval_ns, uint64_t burst, uint64_t cost) except -1:
    if map.base is NULL:
        raise SegmentError("the segment is closed")
    if interval_ns < 1 or cost < 1 or cost > burst:
        raise ValueError(
            f"a token bucket needs interval_ns >= 1 and 1 <= cost <= burst, not "
            f"interval_ns={interval_ns}, cost={cost}, burst={burst}"
        )
    return 0


# --- sliding windows (window.h) ----------------------------------------------------------------------------


cdef class SlidingWindows:
    cdef Mapping mapping
    cdef window_table table

    def __cinit__(self, Mapping mapping):
        self.mapping = mapping
        self.table.region = segment_region(&mapping.map, REGION_WINDOWS)
        self.table.cells = mapping.map.header.bucket_cells

    def take(self, bytes key, uint64_t now_ns, int64_t window_s, int64_t limit, int64_t cost=1):
        cdef shm *map = &self.mapping.map
        cdef int64_t wait_ns
        check_window(map, window_s, limit, cost)
        wait_ns = window_take(&self.table, segment_hash(map, <char *>key, len(key)), now_ns, <uint32_t>window_s,
                              <uint32_t>limit, <uint32_t>cost)
        if wait_ns == WINDOW_FULL:
            counter_add(map.statistics, map.member, CORE_WINDOW_TABLE_FULL, 1)
            return 0
        return wait_ns

    def peek(self, bytes key, uint64_t now_ns, int64_t window_s, int64_t limit, int64_t cost=1):
        cdef shm *map = &self.mapping.map
        check_window(map, window_s, limit, cost)
        return window_peek(&self.table, segment_hash(map, <char *>key, len(key)), now_ns, <uint32_t>window_s,
                           <uint32_t>limit, <uint32_t>cost)


cdef int check_window(shm *map, int64_t window_s, int64_t limit, int64_t cost) except -1:
    if map.base is NULL:
        raise SegmentError("the segment is closed")
    if not (1 <= window_s <= WINDOW_S_MAX and 1 <= cost <= limit <= WINDOW_LIMIT_MAX):
        raise ValueError(
            f"a sliding window needs 1 <= window_s <= {WINDOW_S_MAX} and 1 <= cost <= limit <= "
            f"{WINDOW_LIMIT_MAX}, not window_s={window_s}, limit={limit}, cost={cost}"
        )
    return 0


# --- scoreboard (score.h) ------------------------------------------------------------------------------------

SCORES = SHM_SCORES
SCORE_WORDS = C_SCORE_WORDS


@cython.final
cdef class Scoreboard:
    cdef Mapping mapping

    def __cinit__(self, Mapping mapping):
        self.mapping = mapping

    def claim(self, bytes key):
        cdef shm *map = &self.mapping.map
        cdef score *claimed
        cdef Score found
        if map.base is NULL:
            raise SegmentError("the segment is closed")
        claimed = score_claim(segment_region(map, REGION_SCORES), SHM_SCORES,
                              segment_hash(map, <char *>key, len(key)))
        if claimed is NULL:
            counter_add(map.statistics, map.member, CORE_SCOREBOARD_FULL, 1)
            return None
        found = Score.__new__(Score)
        found.mapping = self.mapping
        found.score = claimed
        return found


@cython.final
cdef class Score:
    def load(self, unsigned int word):
        return score_load(self._checked(word), word)

    def store(self, unsigned int word, uint64_t value):
        score_store(self._checked(word), word, value)

    def add(self, unsigned int word, uint64_t amount):
        return score_add(self._checked(word), word, amount)

    def swap(self, unsigned int word, uint64_t expected, uint64_t value):
        return score_swap(self._checked(word), word, expected, value)

    cdef score *_checked(self, unsigned int word) except NULL:
        if self.mapping is None or self.mapping.map.base is NULL:
            raise SegmentError("the segment is closed")
        if word >= C_SCORE_WORDS:
            raise IndexError(f"word {word} is outside 0..{C_SCORE_WORDS - 1}")
        return self.score


# --- presence (presence.h) -----------------------------------------------------------------------------------

PRESENCE_MOST = C_PRESENCE_MOST
OVER = PRESENCE_OVER
ENTERED = PRESENCE_ENTERED
UNCOUNTED = PRESENCE_UNCOUNTED


@cython.final
cdef class Presence:
    cdef Mapping mapping

    def __cinit__(self, Mapping mapping):
        self.mapping = mapping

    cdef shm *_map(self) except NULL:
        if self.mapping.map.base is NULL:
            raise SegmentError("the segment is closed")
        return &self.mapping.map

    def enter(self, bytes key, uint64_t most):
        cdef shm *map = self._map()
        cdef int answer
        if map.member < 0:
            raise SegmentError("join the segment before entering: nobody would give back what the dead had")
        if not 1 <= most <= C_PRESENCE_MOST:
            raise ValueError(f"a presence needs 1 <= most <= {C_PRESENCE_MOST}, not {most}")
        answer = presence_enter(segment_region(map, REGION_PRESENCE), map.header.bucket_cells, map.member,
                                segment_hash(map, <char *>key, len(key)), most)
        if answer == PRESENCE_UNCOUNTED:
            counter_add(map.statistics, map.member, CORE_PRESENCE_FULL, 1)
        return answer

    def leave(self, bytes key):
        cdef shm *map = self._map()
        presence_leave(segment_region(map, REGION_PRESENCE), map.header.bucket_cells, map.member,
                       segment_hash(map, <char *>key, len(key)))

    def count(self, bytes key):
        cdef shm *map = self._map()
        return presence_count(segment_region(map, REGION_PRESENCE), map.header.bucket_cells,
                              segment_hash(map, <char *>key, len(key)))


# --- statistics (counter.h) --------------------------------------------------------------------------------

STATISTICS = COUNTER_SLOTS
USER_STATISTICS = COUNTER_USER


cdef class Statistics:
    def __cinit__(self, Mapping mapping):
        self.mapping = mapping

    cdef void *_region(self) except NULL:
        if self.mapping.map.base is NULL:
            raise SegmentError("the segment is closed")
        return self.mapping.map.statistics

    cpdef object add(self, unsigned int index, int64_t amount=1):
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

    def core(self):
        cdef uint64_t[COUNTER_SLOTS] counts
        counter_totals(self._region(), counts)
        return {(<bytes>counter_name(index)).decode(): counts[index] for index in range(CORE_COUNTERS)}

    def of(self, int member):
        cdef uint64_t[COUNTER_SLOTS] counts
        if not 0 <= member < SHM_MEMBERS:
            raise ValueError(f"member {member} is outside 0..{SHM_MEMBERS - 1}")
        counter_of(self._region(), member, counts)
        return [counts[index] for index in range(COUNTER_SLOTS)]

    cdef int retire(self, int member) except -1:
        counter_retire(self._region(), member)
        return 0


def _arm_fault(long n, int signal_number):
    """Get that signal at the n-th fault point from now (0: never); points passed since then, -1 without any."""
    return fault_arm(n, signal_number)
