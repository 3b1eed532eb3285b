cdef class Store:
    cdef public object _cache, _settings, _codings
    cdef public dict _marked
