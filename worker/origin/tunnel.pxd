from worker.tunnel cimport TransportEnd

cdef class OriginEnd(TransportEnd):
    cdef object _settings, _tell_lost
    cdef long long _moved, _since_ns
