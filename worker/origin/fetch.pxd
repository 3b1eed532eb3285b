from worker.origin.request_head cimport RequestHead

cdef class OriginFetch:
    cdef public object settings, pool
    cdef public str url
    cdef public RequestHead request_head
    cdef public bint keeps_bodies
    cdef public long long total_ns
