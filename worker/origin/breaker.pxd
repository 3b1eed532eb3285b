cdef class Breaker:
    cdef public object _recent, _score
    cdef public double _share
    cdef public long _requests
    cdef public long long _open_ns
