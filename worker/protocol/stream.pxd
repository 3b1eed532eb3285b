from worker.fields cimport Fields, Section


cdef class Framing:
    cdef readonly dict streams
    cdef list closed, drained

    cpdef list take_closed(self)
    cpdef list take_drained(self)
    cpdef int answer(self, Stream stream, int status, Fields fields, bytes date_line, Py_ssize_t length) except -1
    cpdef int interim(self, Stream stream, int status, Fields fields) except -1
    cpdef int resume(self, Stream stream) except -1
    cpdef int reset(self, Stream stream, int code) except -1
    cpdef int consumed(self, Stream stream, Py_ssize_t size) except -1
    cpdef int widen(self, Stream stream, Py_ssize_t size) except -1
    cpdef bint has_ended(self, Stream stream) except -1
    cpdef int forget(self, Stream stream, unsigned long long code) except -1
    cpdef list give_up(self, unsigned long long code)


cdef class Stream:
    cdef Framing framing
    cdef readonly long long id
    cdef readonly bytes method, scheme, authority, path, query, target, host, protocol
    cdef readonly Fields fields
    cdef public bint ended
    cdef readonly bint too_large, closed, tunnelled
    cdef readonly unsigned long long code
    cdef public long long bytes_sent
    cdef public bint moved
    # what goes out
    cdef object piece, lending
    cdef const char *data
    cdef Py_ssize_t at, size
    cdef readonly bint last
    cdef bint waiting
    cdef readonly Fields trailers

    cpdef object receive(self, bytes data)
    cpdef object receive_end(self, Fields trailers)
    cpdef int belong(self, Framing framing, long long id) except -1
    cpdef int read_head(self, Section section) except -1
    cpdef int respond(self, int status, Fields fields, bytes date_line, Py_ssize_t length, object body, bint more) except -1
    cpdef int interim(self, int status, Fields fields) except -1
    cpdef int switch(self, Fields fields, bytes date_line) except -1
    cpdef int leave(self) except -1
    cpdef bint has_left(self) except -1
    cpdef bint offer(self, bytes piece) except -1
    cpdef int finish(self, Fields trailers) except -1
    cpdef int reset(self, int code) except -1
    cpdef int consumed(self, Py_ssize_t size) except -1
    cpdef bytes take(self, Py_ssize_t limit)
    cdef int refill(self) except -1
    cdef int taken(self) except -1
