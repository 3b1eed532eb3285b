cdef class Pool:
    cdef public object settings, tls, _emptied
    cdef public list idle
    cdef public set connections
    cdef public int connecting
    cdef public bint closing
    cdef public long long keepalive_ns
