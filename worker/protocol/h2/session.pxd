from libc.stdint cimport uint32_t

from worker.fields cimport Section
from worker.nghttp2 cimport Outgoing, nghttp2_session
from worker.protocol.stream cimport Framing, Stream


cdef class Session(Framing):
    cdef nghttp2_session *session
    cdef object owner, make_stream, error
    cdef Section section
    cdef list ready
    cdef Outgoing out
    cdef uint32_t fault
    cdef int continuations
    cdef readonly int resets, empty_frames
    cdef int max_resets, max_empty_frames, max_fields
    cdef size_t max_bytes
    cdef bint failed
    # frames counted by their heads, and those of them that libnghttp2 tells us of
    cdef long long frames, told, passed_over
    cdef Py_ssize_t skip
    cdef uint32_t head_length
    cdef int head_at

    cpdef list receive(self, bytes data)
    cpdef bytes take(self)
    cpdef object terminate(self, uint32_t code)
    cdef int count_frames(self, const unsigned char *data, Py_ssize_t size) noexcept
    cdef bint is_flooded(self) noexcept
    cdef int fail(self, uint32_t fault) noexcept
    cdef int head_end(self, Stream stream, bint ended) except -1
    cdef int trailers_end(self, Stream stream) except -1
