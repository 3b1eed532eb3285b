cdef class H2Pool:
    cdef public object settings, dialer, plain, waiting, _emptied
    cdef public list connections
    cdef public set dialing
    cdef public bint may_fall_back, closing
    cdef public long streams
    cdef public long long plain_until_ns, keepalive_ns
