from worker.context cimport Context

cdef class WafGate:
    cdef public object _of_head, _refuse, _in_thread
    cdef public bint _blocks, _reads_bodies
    cdef public long long _unlogged, _next_log_ns
