cimport cython

cdef class HttpRequest:
    cdef public bytes method, target, version, body, unique_id
    cdef public str address
    cdef public tuple fields
    cdef public object port

cdef class Transaction:
    cdef public HttpRequest request
    cdef public object limits
    cdef public dict scalars, collections, tx, writable
    cdef public bytes body_processor
    cdef bint _is_read
    cdef object _combined
    cdef double _started

    cpdef bytes scalar(self, str name)
    @cython.locals(request=HttpRequest, target=bytes, whole=bytes, path=bytes, protocol=bytes)
    cdef _read_line(self)
    cdef _read_fields(self)
    @cython.locals(combined=Py_ssize_t, arguments=list, named=list, room=Py_ssize_t)
    cdef _add_arguments(self, list found, str values=*, str names=*)
