"""What the C of this package offers to core.pyx; see the headers for the contracts."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "layout.h" nogil:
    enum:
        SHM_MEMBERS
        SHM_LAYOUT_VERSION
        SHM_LEASES
        SHM_BOOT_ID_MAX
        SHM_PAGE
        SHM_TAGS_MAX
        SHM_LEVELS
        SHM_SCORES
    enum region:
        REGION_STATISTICS
        REGION_LEASES
        REGION_BUCKETS
        REGION_WINDOWS
        REGION_SCORES
        REGION_PRESENCE
    struct header:
        uint64_t seed
        uint32_t bucket_cells
        uint32_t stripes
        uint32_t pages
        uint32_t per_stripe
    struct member:
        int32_t pid
        uint32_t epoch
        uint32_t joined
        int64_t started_ns
        int64_t heartbeat_ns


cdef extern from "lock.h" nogil:
    long fault_arm(long n, int signal_number)


cdef extern from "segment.h" nogil:
    enum:
        SEGMENT_OK
        SEGMENT_NO_MAP
        SEGMENT_NO_MEMORY
        SEGMENT_TOO_SMALL
        SEGMENT_BAD_MAGIC
        SEGMENT_BAD_VERSION
        SEGMENT_BAD_SHAPE
        SEGMENT_BAD_LENGTH
        SEGMENT_BAD_SIZE
        SEGMENT_BAD_BOOT
        SEGMENT_NOT_READY
        SEGMENT_BAD_PLAN
        SEGMENT_BAD_PURGES
    struct shm:
        uint8_t *base
        size_t size
        uint64_t now_ns
        uint64_t pinned_bytes
        header *header
        member *members
        void *statistics
        int member
        uint32_t epoch
    size_t segment_minimum()
    int segment_create(shm *map, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len,
                       uint32_t stripes, uint32_t entries)
    int segment_attach(shm *map, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len)
    void segment_close(shm *map)
    int segment_join(shm *map, int member, int32_t pid, int64_t now_ns)
    void *segment_region(const shm *map, region which)
    uint64_t segment_hash(const shm *map, const void *key, size_t size)


cdef extern from "counter.h" nogil:
    enum:
        COUNTER_SLOTS
        COUNTER_USER
        CORE_COUNTERS
    enum core_counter:
        CORE_LOCK_TIMEOUTS
        CORE_EXPIRED
        CORE_PURGED
        CORE_DAMAGED
        CORE_HITS_SMALL
        CORE_HITS_LARGE
        CORE_MISSES
        CORE_PINS_BROKEN_OFF
        CORE_REAPS
        CORE_REAPED_PINS
        CORE_REAPED_FILLS
        CORE_REAPED_LEASES
        CORE_BUCKET_TABLE_FULL
        CORE_WINDOW_TABLE_FULL
        CORE_SCOREBOARD_FULL
        CORE_PRESENCE_FULL
    const char *counter_name(unsigned index)
    void counter_add(void *region, int member, unsigned index, uint64_t amount)
    void counter_retire(void *region, int member)
    uint64_t counter_total(const void *region, unsigned index)
    void counter_totals(const void *region, uint64_t *out)
    void counter_of(const void *region, int member, uint64_t *out)


cdef extern from "lease.h" nogil:
    enum:
        LEASE_CLAIMED
        LEASE_WAIT
        LEASE_FULL
        LEASE_PENDING
        LEASE_PUBLISHED
        LEASE_NOT_STORABLE
        LEASE_FAILED
        LEASE_OWNER_DIED
        LEASE_TOO_SLOW
        LEASE_UNKNOWN
    struct lease_table:
        void *region
        size_t cells
        const int *doorbells
        int member
        uint32_t epoch
        void *statistics
    int lease_claim(lease_table *table, uint64_t hash, uint64_t now_ns, uint64_t lease_ns, uint64_t *ticket)
    int c_lease_ending "lease_ending" (lease_table *table, uint64_t ticket, uint64_t now_ns)
    bint lease_renew(lease_table *table, uint64_t ticket, uint64_t now_ns, uint64_t lease_ns)
    bint lease_announce(lease_table *table, uint64_t ticket, uint64_t note)
    bint lease_note(const lease_table *table, uint64_t ticket, uint64_t *note)
    bint lease_progress(lease_table *table, uint64_t ticket)
    bint lease_release(lease_table *table, uint64_t ticket, int ending)
    size_t lease_reap(lease_table *table, int member, uint32_t epoch)


cdef extern from "bucket.h" nogil:
    enum:
        BUCKET_FULL
    struct bucket_table:
        void *region
        size_t cells
    int64_t bucket_take(const bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                        uint64_t burst, uint64_t cost)
    int64_t bucket_peek(const bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                        uint64_t burst, uint64_t cost)


cdef extern from "window.h" nogil:
    enum:
        WINDOW_FULL
        WINDOW_S_MAX
        WINDOW_LIMIT_MAX
    struct window_table:
        void *region
        size_t cells
    int64_t window_take(const window_table *table, uint64_t hash, uint64_t now_ns, uint32_t window_s,
                        uint32_t limit, uint32_t cost)
    int64_t window_peek(const window_table *table, uint64_t hash, uint64_t now_ns, uint32_t window_s,
                        uint32_t limit, uint32_t cost)


cdef extern from "score.h" nogil:
    enum:
        C_SCORE_WORDS "SCORE_WORDS"
    struct score:
        pass
    score *score_claim(void *region, size_t cells, uint64_t hash)
    uint64_t score_load(const score *score, unsigned word)
    void score_store(score *score, unsigned word, uint64_t value)
    uint64_t score_add(score *score, unsigned word, uint64_t amount)
    bint score_swap(score *score, unsigned word, uint64_t expected, uint64_t value)


cdef extern from "presence.h" nogil:
    enum:
        C_PRESENCE_MOST "PRESENCE_MOST"
        PRESENCE_OVER
        PRESENCE_ENTERED
        PRESENCE_UNCOUNTED
    int presence_enter(void *region, size_t words, int member, uint64_t hash, uint64_t most)
    void presence_leave(void *region, size_t words, int member, uint64_t hash)
    uint64_t presence_count(const void *region, size_t words, uint64_t hash)


cdef extern from "table.h" nogil:
    enum:
        NOBODY "UINT32_MAX"
    struct c_key "key":
        const uint8_t *bytes
        uint32_t len
        uint32_t stripe
    void key_make(const shm *map, c_key *key, const uint8_t *bytes, size_t len)


cdef extern from "read.h" nogil:
    enum:
        VERDICT_FRESH
        VERDICT_SWR
        VERDICT_SIE
        VERDICT_EXPIRED
        READ_HIT
        READ_MISS
        READ_DROP
    struct found:
        uint32_t entry
        uint64_t ctl
        uint64_t size
        uint32_t meta_at
        uint32_t meta_len
        uint32_t body_at
        uint32_t head
        int64_t fresh_until_ns
        uint8_t flags
        uint8_t verdict
        uint8_t large
        uint8_t purged
    int read_find(shm *map, const c_key *key, int64_t now_ns, found *found)
    void read_copy(const shm *map, const found *found, uint32_t at, void *to, size_t size)
    bint read_same(const shm *map, const found *found)
    bint read_sound(shm *map, const found *found)
    bint read_pin(shm *map, const found *found)
    void read_unpin(shm *map, uint32_t entry)
    uint64_t read_run(const shm *map, uint32_t entry, uint64_t size, uint64_t at, const uint8_t **bytes)


cdef extern from "fill.h" nogil:
    enum:
        STORE_DONE
        STORE_BUSY
        STORE_NO_ROOM
        STORE_TOO_LARGE
        STORE_PURGED
        STORE_GONE
        STORE_WRONG_SIZE
    struct note:
        const uint8_t *meta
        uint32_t meta_len
        const uint32_t *tags
        uint32_t tag_count
        int64_t fresh_until_ns
        int64_t keep_until_ns
        int64_t swr_ns
        int64_t sie_ns
        uint64_t born
        uint8_t flags
    struct fill:
        c_key key
        note note
        uint64_t max_bytes
        uint64_t filled
        uint32_t entry
        uint64_t ctl
        bint open
    int store_body(shm *map, const c_key *key, const note *note, const uint8_t *body, uint64_t size,
                   int64_t patience_ns)
    bint fill_open(shm *map, fill *fill, uint64_t announced, uint64_t max_bytes)
    int fill_write(shm *map, fill *fill, const uint8_t *bytes, size_t size)
    int fill_publish(shm *map, fill *fill, int64_t patience_ns)
    int fill_settle(shm *map, fill *fill)
    void fill_abort(shm *map, fill *fill)
    bint fill_is_purged(const shm *map, const c_key *key, const note *note)
    int store_freshen(shm *map, const c_key *key, const note *note, int64_t patience_ns)
    int store_delete(shm *map, const c_key *key, int64_t soft_ns, int64_t patience_ns)
    void store_drop(shm *map, const c_key *key, uint32_t entry, uint64_t ctl, core_counter why)


cdef extern from "purge.h" nogil:
    uint32_t purge_tag_slot(const shm *map, const uint8_t *tag, size_t size)
    uint32_t purge_levels(const shm *map, const uint8_t *key, size_t size, uint32_t *slots)
    uint64_t purge_everything(shm *map, int64_t soft_ns)
    uint64_t c_purge_tag "purge_tag" (shm *map, uint32_t slot, int64_t soft_ns)
    uint64_t c_purge_prefix "purge_prefix" (shm *map, const uint8_t *prefix, size_t size, int64_t soft_ns)
    uint64_t purge_generation(const shm *map)


cdef extern from "follow.h" nogil:
    enum:
        FOLLOW_RUNNING
        FOLLOW_WHOLE
        FOLLOW_BROKEN
    uint64_t follow_word(uint64_t ctl, uint32_t entry)
    bint follow_begin(shm *map, uint64_t word, const c_key *key, int64_t now_ns, found *found,
                      uint64_t *announced)
    bint follow_meta(const shm *map, const found *found, void *to)
    int follow_look(const shm *map, uint32_t entry, uint64_t *filled)


cdef extern from "crawl.h" nogil:
    struct crawled:
        uint32_t looked
        uint32_t expired
        uint32_t purged
    void c_crawl "crawl" (shm *map, int64_t now_ns, uint32_t entries, crawled *crawled)


cdef extern from "walk.h" nogil:
    struct walked:
        size_t key_at
        uint64_t size
        int64_t fresh_until_ns
        int64_t keep_until_ns
        int64_t swr_ns
        int64_t sie_ns
        uint32_t key_len
        uint32_t meta_len
        uint32_t tags
        uint8_t flags
        uint8_t verdict
    struct c_walk "walk":
        const uint8_t *prefix
        size_t prefix_len
        int64_t now_ns
        uint32_t at
        uint32_t found
        uint32_t limit
        walked *out
        uint8_t *keys
        size_t used
        size_t room
    void c_walk_on "walk" (shm *map, c_walk *walk)


cdef extern from "repair.h" nogil:
    enum:
        WRITE_PATIENCE_NS
    struct reaped:
        uint32_t pins
        uint32_t fills
        uint32_t zombies
        uint32_t skipped
    void reap_member(shm *map, int member, reaped *reaped)


cdef extern from "adopt.h" nogil:
    struct c_adopted "adopted":
        uint64_t objects
        uint64_t damaged
        uint64_t fills
        uint64_t zombies
        uint64_t pins
    int segment_adopt(shm *map, uint64_t now_ns, bint verify, c_adopted *adopted)


cdef extern from "audit.h" nogil:
    struct c_occupancy "occupancy":
        uint64_t pages_total
        uint64_t pages_used
        uint64_t entries_total
        uint64_t entries_used
        uint64_t bytes_stored
        uint64_t objects
    size_t c_audit "audit" (shm *map, char *out, size_t size)
    void c_take_occupancy "occupancy" (const shm *map, c_occupancy *occupancy)


cdef class Mapping:
    cdef shm map


cdef class Statistics:
    cdef Mapping mapping
    cdef void *_region(self) except NULL
    cpdef object add(self, unsigned int index, int64_t amount=*)
    cdef int retire(self, int member) except -1


cdef class Hit:
    cdef readonly int verdict
    cdef readonly int flags
    cdef readonly bytes meta
    cdef readonly object body
    cdef readonly uint64_t size
    cdef readonly int64_t fresh_until_ns


cdef class Score:
    cdef Mapping mapping
    cdef score *score
    cdef score *_checked(self, unsigned int word) except NULL
