cdef class GroupHealth:
    cdef public object _settings, _breaker, _budget
    cdef public list _standings
    cdef public int _ejected_max
