cdef class Store:
    cdef public object _cache, _settings, _rules, _codings
    cdef public dict _marked
