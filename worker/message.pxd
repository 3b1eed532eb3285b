cdef class Request:
    cdef public bytes method, scheme, host, target, path, query, version, upgrade
    cdef public object fields, body

cdef class Response:
    cdef public int status
    cdef public bint settled
    cdef public object fields, body, length
