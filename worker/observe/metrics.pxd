from shmcache.core cimport Statistics
from worker.context cimport Context

cdef class Metrics:
    cdef Statistics _statistics
    cdef public object _count_rule
    cdef public dict _requests, _statuses, _blocks, _faults, _reasons

cdef class LoopStalls:
    cdef Statistics _statistics
    cdef long long _longest_us
