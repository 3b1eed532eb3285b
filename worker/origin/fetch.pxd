from worker.origin.pool cimport Pool
from worker.origin.request_head cimport RequestHead

cdef class OriginFetch:
    cdef public object settings
    cdef public str url
    cdef public Pool pool
    cdef public RequestHead request_head
    cdef public long long total_ns
