from libc.stdint cimport int32_t, uint32_t

from worker.fields cimport Fields, Section
from worker.nghttp2 cimport Outgoing, nghttp2_session


cdef class Session:
    cdef nghttp2_session *session
    cdef object error
    cdef Section section
    cdef readonly dict streams
    cdef list closed, drained, fed
    cdef Outgoing out
    cdef int continuations, empty_frames, max_fields
    cdef size_t max_bytes
    cdef readonly bint failed, agreed, is_leaving
    cdef readonly uint32_t fault
    cdef public bint has_news
    cdef readonly str said
    cdef readonly long long streams_max

    cpdef int receive(self, bytes data) except -1
    cpdef bytes take(self)
    cpdef list take_closed(self)
    cpdef list take_drained(self)
    cdef int deliver(self, H2Stream stream) except -1
    cdef int fail(self, uint32_t fault) noexcept
    cdef int head_end(self, H2Stream stream, bint ended) except -1
    cdef int trailers_end(self, H2Stream stream) except -1


cdef class H2Stream:
    cdef readonly Session session
    cdef readonly int32_t id
    cdef readonly bint answered, ended, closed, reset_by_peer
    cdef readonly uint32_t code
    cdef public bint moved
    cdef list pieces  # of the answer's body, that have come with the bytes at hand; None: none
    # what goes out
    cdef bytes piece
    cdef Py_ssize_t at, size
    cdef bint last, waiting
    cdef Fields trailers

    cpdef object receive(self, bytes data)
    cpdef object receive_end(self, Fields trailers)
    cpdef bint submit(self, Session session, bytes head, bytes scheme, bint more) except -1
    cpdef bint offer(self, bytes piece) except -1
    cpdef int finish(self, Fields trailers) except -1
    cpdef int reset(self, uint32_t code) except -1
    cpdef int consumed(self, Py_ssize_t size) except -1
