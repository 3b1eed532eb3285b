from worker.context cimport Context
from worker.message cimport Request

cdef class Router:
    cdef public object _unknown
    cdef public dict _by_host, _memo
    cdef public tuple _any
