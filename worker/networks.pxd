from libc.stdint cimport uint8_t, uint64_t

cdef extern from "network_table.h":
    ctypedef struct address_t "unsigned __int128":
        pass
    ctypedef struct networks_t:
        size_t count
    enum:
        NETWORK_OK
        NETWORK_NO_ADDRESS
        NETWORK_NO_PREFIX
        NETWORK_HOST_BITS
    int networks_read(const char *text, size_t size, uint8_t value, networks_t *v4, networks_t *v6,
                      size_t *line) nogil
    void networks_free(networks_t *networks)
    size_t table_size(size_t boundaries)
    size_t table_make(networks_t *networks, void *memory) nogil
    uint8_t table_find(const void *memory, size_t boundaries, address_t address)
    address_t address_of(const uint8_t *packed, size_t size, int *is_v4)

cdef class NetworkMap:
    cdef char *memory
    cdef size_t v4_boundaries, v6_boundaries, v6_offset, size
    cdef readonly size_t count
    cdef int _make(self, networks_t *v4, networks_t *v6) except -1
    cpdef int find(self, bytes packed) except -1

cdef class SharedNetworks:
    cdef char *memory
    cdef size_t half_bytes, capacity
    cpdef uint64_t load_version(self)
    cdef char *_half(self, uint64_t version)
    cdef int _find_in(self, const char *half, address_t address, bint is_v4)
    cpdef int find(self, bytes packed) except -1
