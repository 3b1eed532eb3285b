cimport cython

cdef const unsigned long long[:] _KINDS

@cython.locals(found=cython.int, bit=cython.int)
cpdef int traits(unsigned long long held)
