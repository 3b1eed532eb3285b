from worker.context cimport Context
from worker.protocol.server cimport ConnectionServer
from worker.tunnel cimport TransportEnd

cdef class ClientEnd(TransportEnd):
    cdef ConnectionServer _server
    cdef Context _ctx
    cdef object _finish
    cdef Py_ssize_t _mark
    cdef long long _since_ns
