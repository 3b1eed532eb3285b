from worker.security.waf.memory cimport Memory

cdef class Judge:
    cdef object _findings, _findings_in_path, _engine
    cdef object _threshold
    cdef dict _excluded, _findings_in_field
    cdef Memory _heads, _paths, _queries, _values
    cdef set _clean
