from worker.context cimport Context

cdef class RateLimitGate:
    cdef public object _take, _peek, _refuse, _key_of
    cdef public str _name
    cdef public bint _blocks
    cdef public bytes _prefix, _label, _policy
    cdef public long long _span, _next_log_ns, _unlogged, _delay_ns
    cdef public long _most
    cdef public tuple _methods, _statuses
    cdef public dict _costs
    cdef public list _delayed
