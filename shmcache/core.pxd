"""What the C of this package offers to core.pyx; see the headers for the contracts."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "layout.h" nogil:
    enum:
        SHM_MEMBERS
        SHM_LAYOUT_VERSION
        SHM_LEASES
        SHM_BOOT_ID_MAX
        SHM_TAGS_MAX
    enum region:
        REGION_STATISTICS
        REGION_LEASES
        REGION_BUCKETS
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
    long fault_arm(long n)


cdef extern from "segment.h" nogil:
    enum:
        SEGMENT_OK
        SEGMENT_NO_MAP
        SEGMENT_NO_MEMORY
        SEGMENT_TOO_SMALL
        SEGMENT_BAD_MAGIC
        SEGMENT_BAD_VERSION
        SEGMENT_BAD_SHAPE
        SEGMENT_BAD_SIZE
        SEGMENT_BAD_BOOT
        SEGMENT_NOT_READY
    struct shm:
        uint8_t *base
        size_t size
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
        CORE_LEASES_TAKEN_OVER
        CORE_LEASE_TABLE_FULL
        CORE_BUCKET_TABLE_FULL
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
        uint64_t taken_over
    int lease_claim(lease_table *table, uint64_t hash, uint64_t now_ns, uint64_t lease_ns, uint64_t *ticket)
    int c_lease_ending "lease_ending" (lease_table *table, uint64_t ticket, uint64_t now_ns)
    bint lease_release(lease_table *table, uint64_t ticket, int ending)
    size_t lease_reap(lease_table *table, int member, uint32_t epoch)
    size_t lease_live(const lease_table *table)


cdef extern from "bucket.h" nogil:
    enum:
        BUCKET_FULL
    struct bucket_table:
        void *region
        size_t cells
    int64_t bucket_take(const bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                        uint64_t burst, uint64_t cost)
    size_t bucket_active(const bucket_table *table, uint64_t now_ns)


cdef class Mapping:
    cdef shm map
