from worker.context cimport Context

cdef class Metrics:
    cdef public object _add, _add_many, _count_rule
    cdef public dict _requests, _statuses, _blocks, _faults, _reasons
