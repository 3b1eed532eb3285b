cimport cython

cdef const unsigned char[:] _TRAITS

@cython.locals(found=cython.int, code=cython.uchar)
cpdef int traits(bytes value)
