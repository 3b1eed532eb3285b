cimport cython

cdef const unsigned long long[:] _KINDS
cdef unsigned long long _COMMENT, _PATH

@cython.locals(found=cython.ulonglong, code=cython.uchar, before=cython.uchar)
cpdef unsigned long long kinds(bytes value)
