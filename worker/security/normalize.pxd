from worker.message cimport Request

cdef class Normalizer:
    cdef public bint merge_slashes
