from worker.context cimport Context

cdef class CanonicalRedirect:
    cdef public bint _upgrades
    cdef public bytes _port, _host

cdef class Redirects:
    cdef public dict _whole
    cdef public list _patterns
    cdef public object _any

cdef class AutomaticHttps:
    cdef public object _hosts, _plain
    cdef public bytes _port, _exempt
