cdef class Prefilter:
    cdef public bytes blob
    cdef public tuple refused
    cdef object _always, _scan

    cpdef object candidates(self, bytes value)
