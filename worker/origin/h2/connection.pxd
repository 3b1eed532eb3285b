from worker.origin.h2.session cimport Session

cdef class H2Connection:
    cdef public object keeper, settings, loop, address, transport, ready, broken
    cdef public bytes scheme
    cdef public Session session
    cdef public int exchanges
    cdef public bint taken, retired, paused, receiving, scheduled
    cdef public long long heard_ns, idle_ns, pinged_ns
    cpdef object flush_soon(self)
    cpdef object flush(self)
