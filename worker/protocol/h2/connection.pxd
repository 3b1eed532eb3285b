from worker.context cimport Client
from worker.protocol.h2.exchange cimport Exchange
from worker.protocol.h2.session cimport Session
from worker.protocol.server cimport ConnectionServer

cdef class H2Protocol:
    cdef public ConnectionServer server
    cdef public int wide_streams
    cdef public Py_ssize_t copied_bytes
    cdef public Client _client
    cdef public object _transport
    cdef public Session _session
    cdef public long long _since_ns
    cdef public long _requests
    cdef public Py_ssize_t _mark
    cdef public bint _receiving, _flushing, _scheduled, _paused, _noticed, _left, _lingering
    cpdef object _request(self, Exchange exchange)
    cpdef object flush_soon(self)
    cpdef object flush(self)
    cpdef object _settle(self)
