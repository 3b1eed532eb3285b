from worker.context cimport Client, Context

cdef class AccessGate:
    cdef public object _refuse, _denied, _networks, _asn_of, _country_of
    cdef public dict _asns, _countries
    cdef public bint _default_allow
