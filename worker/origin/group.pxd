cdef class GroupFetch:
    cdef public str _name
    cdef public tuple _servers
    cdef public object _health, _key_of, _balancer
    cdef public int _attempts
    cdef public bint _starts_slowly
    cdef public frozenset _retried, _failed
    cdef public list _tiers, _weights
