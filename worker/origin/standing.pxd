cdef class Standing:
    cdef public object _ejection, _probe, _score
    cdef public int _failures
    cdef public long long _slow_start_ns
