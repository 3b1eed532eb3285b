from worker.message cimport Request

cdef class Routes:
    cdef public dict _by_host, _memo
    cdef public tuple _any, _unknown
