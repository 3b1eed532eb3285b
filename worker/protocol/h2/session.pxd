from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint32_t, uint8_t

from worker.fields cimport Fields, Section
from worker.protocol.h2.nghttp2 cimport nghttp2_data_provider, nghttp2_session


cdef class Session:
    cdef nghttp2_session *session
    cdef object owner, make_stream, error
    cdef Section section
    cdef readonly dict streams
    cdef list ready, closed, drained
    cdef PyObject *out  # bytes under construction while `take` runs
    cdef Py_ssize_t out_size, out_room, queued
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
    cpdef list take_closed(self)
    cpdef list take_drained(self)
    cdef int put(self, const void *data, Py_ssize_t size) except -1
    cpdef object terminate(self, uint32_t code)
    cdef int count_frames(self, const unsigned char *data, Py_ssize_t size) noexcept
    cdef bint is_flooded(self) noexcept
    cdef int fail(self, uint32_t fault) noexcept
    cdef int head_end(self, H2Stream stream, bint ended) except -1
    cdef int trailers_end(self, H2Stream stream) except -1


cdef class H2Stream:
    cdef readonly Session session
    cdef readonly int32_t id
    cdef readonly bytes method, scheme, authority, path, query, target, host, protocol
    cdef readonly Fields fields
    cdef readonly bint too_large, ended, closed
    cdef readonly uint32_t code
    cdef readonly long long bytes_sent
    cdef public bint moved
    cdef bint tunnelled
    # what goes out
    cdef object piece, lending
    cdef const char *data
    cdef Py_ssize_t at, size
    cdef bint last, waiting
    cdef Fields trailers

    cpdef object receive(self, bytes data)
    cpdef object receive_end(self, Fields trailers)
    cpdef int respond(self, int status, Fields fields, bytes date_line, Py_ssize_t length, object body, bint more) except -1
    cpdef int interim(self, int status, Fields fields) except -1
    cpdef int switch(self, Fields fields, bytes date_line) except -1
    cpdef int leave(self) except -1
    cpdef bint has_left(self) except -1
    cpdef bint offer(self, bytes piece) except -1
    cpdef int finish(self, Fields trailers) except -1
    cpdef int reset(self, uint32_t code) except -1
    cpdef int consumed(self, Py_ssize_t size) except -1
    cdef int refill(self) except -1
    cdef int resume(self) except -1
    cdef int submit(self, size_t count, const nghttp2_data_provider *provider) except -1
