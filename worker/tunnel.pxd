cdef class TransportEnd:
    cdef public object transport, _loop, _other
    cdef public bytes _held
    cdef public bint is_full, is_lost, _over_tls, _stopped, _ended, _shut
    cdef public long long taken, given
    cpdef object write(self, bytes data)
    cpdef object data_received(self, bytes data)
    cpdef object close(self, object error=*)
