cdef class Recent:
    cdef public object _score, _empty
    cdef public int _at, _word
    cdef public long long _end_ns, _length_ns, _start_ns
