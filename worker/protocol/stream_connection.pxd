from worker.context cimport Client
from worker.protocol.exchange cimport Exchange
from worker.protocol.server cimport ConnectionServer
from worker.protocol.stream cimport Framing

cdef class StreamConnection:
    cdef public ConnectionServer server
    cdef public bytes version
    cdef public int wide_streams
    cdef public Py_ssize_t copied_bytes
    cdef public Client _client
    cdef public Framing _framing
    cdef public long long _since_ns
    cdef public long _requests
    cdef public bint _receiving, _flushing, _scheduled, _noticed, _left
    cpdef object _request(self, Exchange exchange)
    cpdef object flush_soon(self)
    cpdef object flush(self)
    cpdef object _settle(self)
