from worker.protocol.h2.session cimport Session
from worker.protocol.stream_connection cimport StreamConnection

cdef class H2Protocol(StreamConnection):
    cdef public object _transport, _pace
    cdef public Session _session
    cdef public Py_ssize_t _mark
    cdef public bint _paused, _lingering
    cpdef object flush(self)
