cdef class Head:
    cdef public int status
    cdef public object fields, length, idle_s
    cdef public long long size
    cdef public bint keep
