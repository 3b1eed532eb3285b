cdef class Store:
    cdef public object _cache, _settings, _rules, _negotiation
    cdef public dict _marked
