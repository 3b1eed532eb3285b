cdef class RetryBudget:
    cdef public object _recent
    cdef public double _share
    cdef public long _least
