cimport cython

cdef class RoundRobin:
    cdef public list _gained
    @cython.locals(chosen=int, most=double, total=double, place=Py_ssize_t, server=int, weight=double,
                   has=double, gained=list)
    cpdef int choose(self, object servers, object weights, bytes key)
