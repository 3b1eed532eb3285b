cdef class Recent:
    cdef public object _score
    cdef public int _word
    cdef public long long _length_ns
