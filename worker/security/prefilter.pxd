cdef class Prefilter:
    cdef public bytes blob
    cdef public tuple refused
    cdef object _scan

    cpdef list candidates(self, bytes value)
