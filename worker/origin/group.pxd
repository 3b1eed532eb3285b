cdef class GroupFetch:
    cdef str _name
    cdef tuple _servers
    cdef object _health, _key_of, _balancer
    cdef int _attempts
    cdef frozenset _retried, _failed
    cdef list _tiers, _weights
