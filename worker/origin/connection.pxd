from worker.context cimport Context
from worker.origin.response_head cimport Head

cdef class Connection:
    cdef public object keeper, loop, state, transport, address, answer, body, upload, drained, tunnel
    cdef public Context informed
    cdef public Head unanswered
    cdef public bytes upgrade
    cdef public bytearray held
    cdef public bint reused, retired, is_stale, keep, over_tls, paused, to_head
    cdef public int interim
    cdef public long long active_ns, sent_ns, first_byte_ns, idle_limit_ns, deadline_ns, body_limit
    cpdef object data_received(self, bytes data)
    cpdef object _take_head(self, bytes data)
    cpdef object _begin_body(self, Head head, bytes rest)
    cpdef object _end_exchange(self)
