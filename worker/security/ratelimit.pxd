from worker.context cimport Context

cdef class RateLimitGate:
    cdef public object _take, _refuse
    cdef public str _name
    cdef public bint _blocks
    cdef public bytes _prefix, _label, _policy
    cdef public long long _interval_ns, _next_log_ns, _unlogged
    cdef public long _burst
