from worker.context cimport Context
from worker.message cimport Request

cdef class JsonLine:
    cdef public double _from_s, _until_s
    cdef public bytes _begin
