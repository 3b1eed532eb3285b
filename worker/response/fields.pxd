from worker.context cimport Context
from worker.message cimport Response

cdef class EdgeFields:
    cdef public str _cache, _via
    cdef public bytes _hit
