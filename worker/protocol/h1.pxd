from worker.context cimport Client, Context
from worker.message cimport Request
from worker.protocol.answer cimport Answering
from worker.protocol.server cimport ConnectionServer

cdef class H1Server(ConnectionServer):
    pass

cdef class H1Protocol(Answering):
    cdef public Client _client
    cdef public bytes _buffer
    cdef public object _pace
    cdef public bint _dirty, _eof, _reading, _taking
    cdef public int _phase
    cdef public long _requests
    cdef public Py_ssize_t _mark, _scanned
    cdef public long long _since_ns
    cpdef object _take(self, bytes data)
    cpdef object _control_reading(self)
