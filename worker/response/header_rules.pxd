from worker.context cimport Context
from worker.message cimport Response

cdef class HeaderRules:
    cdef public tuple _dropped
    cdef public bytes _lines, _secure
