from worker.context cimport Context

cdef class ChallengeGate:
    cdef public object _cache
