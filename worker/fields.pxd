from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef EDGECLUSTER_FIELD_LINE
    #define EDGECLUSTER_FIELD_LINE
    #include <stdint.h>
    /* One field line. Offsets are from the start of the block; lines follow each other without gaps. */
    typedef struct {
        uint32_t name, name_size;   /* where the line and its name begin; size of the name */
        uint32_t value, value_size; /* without surrounding whitespace */
    } Line;

    /* Bytes that grow. */
    typedef struct { char *data; size_t size, room; } Pile;
    #endif
    """
    ctypedef struct Line:
        uint32_t name, name_size, value, value_size

    ctypedef struct Pile:
        char *data
        size_t size, room


cdef class Fields:
    cdef bytes block  # block[start:end] holds the lines that `lines` indexes
    cdef Py_ssize_t start, end
    cdef Line *lines
    cdef int count  # of lines; -1 while not indexed
    cdef uint32_t seen
    cdef list tail  # pieces of further lines, first the block's own; None while there are none

    cdef int index(self, bint whole, int max_fields) except -1
    cdef int settle(self) except -1
    cdef void rewrite(self, bytes block)
    cdef bytes base(self)
    cdef int find(self, bytes name, int after) except -2
    cdef bytes value(self, int i)
    cdef Py_ssize_t line_end(self, int i) noexcept
    cdef bint is_one_of(self, int i, tuple names, uint64_t sizes) except -1
    cdef bytes sifted(self, tuple names, bint wanted)
    cdef bytes without(self, tuple names, int first, bytes instead)
    cpdef bytes get(self, bytes name)


cdef class Section:
    cdef Pile lines, index, crumbs  # field lines, where each lies, the values of Cookie joined
    cdef uint32_t seen
    cdef int wrong, count, max_fields
    cdef readonly int status  # of an answer; -1 in any other section
    cdef readonly size_t taken
    cdef size_t max_bytes
    cdef bint trailers
    cdef readonly bint too_large
    cdef readonly bytes method, scheme, authority, path, protocol, host

    cdef void begin(self, bint trailers, size_t max_bytes, int max_fields) noexcept
    cdef void begin_answer(self, size_t max_bytes, int max_fields) noexcept
    cdef int add(self, const unsigned char *name, size_t name_size, const unsigned char *value,
                 size_t value_size) except -1
    cdef int add_pseudo(self, const unsigned char *name, size_t name_size, const unsigned char *value,
                        size_t value_size) except? 0
    cdef int add_status(self, const unsigned char *name, size_t name_size, const unsigned char *value,
                        size_t value_size) noexcept
    cdef int put_line(self, const void *name, size_t name_size, const void *value, size_t value_size) except -1
    cpdef Fields fields(self)
    cpdef str why(self)
