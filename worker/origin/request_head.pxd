from worker.context cimport Context

cdef class RequestHead:
    cdef public bytes cdn_id, fallback_host, host, via_name
    cdef public dict known, path_plain
