cdef class Pool:
    cdef public object settings, dialer, waiting, _emptied
    cdef public list idle
    cdef public set connections
    cdef public bint closing
    cdef public long long keepalive_ns
