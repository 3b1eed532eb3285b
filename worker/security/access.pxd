from worker.context cimport Client, Context

cdef class AccessGate:
    cdef public object _refuse, _denied, _networks
    cdef public bint _default_allow
