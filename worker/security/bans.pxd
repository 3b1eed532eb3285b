from worker.context cimport Client, Context
from worker.networks cimport SharedNetworks

cdef class BanGate:
    cdef public SharedNetworks _bans
    cdef public object _refuse
