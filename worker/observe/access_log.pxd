from worker.context cimport Context

cdef class AccessLog:
    cdef public str _path
    cdef public object _line, _lost, _sink
    cdef public list _lines
    cdef public Py_ssize_t _bytes, _flush_at, _longest
