cdef class RequestIds:
    cdef bytes random
    cdef int at
    cpdef bytes take(self)
