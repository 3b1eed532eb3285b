cimport cython

cdef const unsigned char[:] _SHELL

@cython.locals(room=bytearray, out=cython.p_uchar, size=Py_ssize_t, code=cython.uchar, kept=cython.uchar, last=cython.uchar)
cpdef bytes cmd_line(bytes value)
