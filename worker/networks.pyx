# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The border between the tables of network_table.c and Python: making, sharing, replacing and asking them.

`SharedNetworks` has room for two maps and a version. The writer makes a map in the half that is not in force and
then raises the version, which names the other half: a reader sees the old map or the new one. What a reader has
found counts only if the version is the same afterwards: otherwise the writer may have begun to write over it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "<sys/mman.h>":
    enum:
        PROT_READ
        PROT_WRITE
        MAP_SHARED
        MAP_ANONYMOUS
    void *MAP_FAILED
    void *mmap(void *start, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void *start, size_t size)

cdef extern from *:
    """
    /* The head of a SharedNetworks, and of each of its halves. */
    struct shared_head { uint64_t version; uint64_t unused; };
    struct half_head { uint64_t v4_boundaries, v6_boundaries; };

    static inline uint64_t load_acquire(const void *word) { return __atomic_load_n((const uint64_t *)word, __ATOMIC_ACQUIRE); }
    static inline void store_release(void *word, uint64_t value) { __atomic_store_n((uint64_t *)word, value, __ATOMIC_RELEASE); }
    static inline void fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    """
    struct shared_head:
        uint64_t version
    struct half_head:
        uint64_t v4_boundaries
        uint64_t v6_boundaries
    uint64_t load_acquire(const void *word)
    void store_release(void *word, uint64_t value)
    void fence()

cdef dict WORDS = {
    NETWORK_NO_ADDRESS: "no address and no network",
    NETWORK_NO_PREFIX: "no prefix length after the slash",
    NETWORK_HOST_BITS: "the address has bits beyond its prefix length",
}


class NetworkError(ValueError):
    """A line that is no network; `args[0]` says why, in a few words."""

    def __init__(self, str words, int source, size_t line):
        super().__init__(words)
        self.source = source
        self.line = line


cdef char *shared_memory(size_t size) except NULL:
    cdef void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
    if memory == MAP_FAILED:
        raise MemoryError(f"no {size} bytes of memory for networks")
    return <char *>memory


cdef class NetworkMap:
    """Networks that never change, each with a value from 1 to 255."""

    def __init__(self, texts):
        cdef networks_t v4, v6
        cdef size_t line = 0, size
        cdef const char *text
        cdef uint8_t value
        cdef int fault
        memset(&v4, 0, sizeof(v4))
        memset(&v6, 0, sizeof(v6))
        try:
            for source, (given, held) in enumerate(texts):
                text, size, value = PyBytes_AS_STRING(given), PyBytes_GET_SIZE(given), held
                with nogil:
                    fault = networks_read(text, size, value, &v4, &v6, &line)
                if fault in WORDS:
                    raise NetworkError(WORDS[fault], source, line)
                if fault != NETWORK_OK:
                    raise MemoryError("no memory for networks")
            self._make(&v4, &v6)
        finally:
            networks_free(&v4)
            networks_free(&v6)

    cdef int _make(self, networks_t *v4, networks_t *v6) except -1:
        """Flatten both, then copy what came of it into one piece of shared memory."""
        cdef size_t v4_room = table_size(2 * v4.count + 1), v4_size, v6_size
        cdef char *rough = <char *>malloc(v4_room + table_size(2 * v6.count + 1) + 32)
        cdef char *second
        if rough == NULL:
            raise MemoryError("no memory for networks")
        second = rough + aligned(v4_room)
        try:
            with nogil:
                self.v4_boundaries = table_make(v4, rough)
                self.v6_boundaries = table_make(v6, second)
            v4_size, v6_size = table_size(self.v4_boundaries), table_size(self.v6_boundaries)
            self.v6_offset = aligned(v4_size)
            self.size = self.v6_offset + v6_size + 1
            self.memory = shared_memory(self.size)
            memcpy(self.memory, rough, v4_size)
            memcpy(self.memory + self.v6_offset, second, v6_size)
            self.count = v4.count + v6.count
        finally:
            free(rough)
        return 0

    def __dealloc__(self):
        if self.memory != NULL:
            munmap(self.memory, self.size)

    @property
    def bytes_used(self):
        return self.size

    cpdef int find(self, bytes packed) except -1:
        """The value for an address of 4 or 16 bytes; 0 for none."""
        cdef int is_v4
        cdef address_t address
        read_address(packed, &address, &is_v4)
        if is_v4:
            return table_find(self.memory, self.v4_boundaries, address)
        return table_find(self.memory + self.v6_offset, self.v6_boundaries, address)


cdef class SharedNetworks:
    """A map that one process replaces while others read it, without a lock."""

    def __init__(self, size_t networks):
        self.capacity = table_size(2 * networks + 2) + 16
        self.half_bytes = aligned(sizeof(half_head) + self.capacity)
        self.memory = shared_memory(sizeof(shared_head) + 2 * self.half_bytes)

    def __dealloc__(self):
        if self.memory != NULL:
            munmap(self.memory, sizeof(shared_head) + 2 * self.half_bytes)

    cpdef uint64_t load_version(self):
        """Changes with every `publish`."""
        return load_acquire(self.memory)

    cdef char *_half(self, uint64_t version):
        return self.memory + sizeof(shared_head) + (version & 1) * self.half_bytes

    def publish(self, NetworkMap networks):
        """Replace the map, for all processes at once. By one process only. Raises ValueError if there is no room."""
        cdef uint64_t version = load_acquire(self.memory)
        cdef char *half = self._half(version + 1)
        cdef half_head *head = <half_head *>half
        if networks.size > self.capacity:
            raise ValueError("too many networks")
        fence()  # readers of the map before the last see the version that ended it before they see this one
        head.v4_boundaries = networks.v4_boundaries
        head.v6_boundaries = networks.v6_boundaries
        memcpy(half + sizeof(half_head), networks.memory, networks.size)
        store_release(self.memory, version + 1)

    cpdef int find(self, bytes packed) except -1:
        """As `NetworkMap.find`, in the map published last."""
        cdef int is_v4, value
        cdef address_t address
        cdef uint64_t version
        read_address(packed, &address, &is_v4)
        while True:
            version = load_acquire(self.memory)
            value = self._find_in(self._half(version), address, is_v4)
            fence()
            if load_acquire(self.memory) == version:
                return value

    cdef int _find_in(self, const char *half, address_t address, bint is_v4):
        """What a half says, which may be nonsense while it is written over, but never lies outside of it."""
        cdef const half_head *head = <const half_head *>half
        cdef size_t v4 = head.v4_boundaries, v6 = head.v6_boundaries, v6_offset
        if v4 > self.capacity or v6 > self.capacity:
            return 0
        v6_offset = aligned(table_size(v4))
        if v6_offset + table_size(v6) > self.capacity:
            return 0
        if is_v4:
            return table_find(half + sizeof(half_head), v4, address)
        return table_find(half + sizeof(half_head) + v6_offset, v6, address)


cdef inline size_t aligned(size_t size) noexcept nogil:
    return (size + 15) & ~<size_t>15


cdef int read_address(bytes packed, address_t *address, int *is_v4) except -1:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(packed)
    if size != 4 and size != 16:
        raise ValueError(f"an address has 4 or 16 bytes, not {size}")
    address[0] = address_of(<const uint8_t *>PyBytes_AS_STRING(packed), size, is_v4)
    return 0
