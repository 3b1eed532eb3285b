from worker.context cimport Context
from worker.fields cimport Fields
from worker.origin.h2.session cimport H2Stream

cdef class Exchange(H2Stream):
    cdef public object connection, answer, body, unanswered, request_body, upload, waiter
    cdef public Context informed
    cdef public bint reused, is_stale, over, to_head
    cdef public int interim
    cdef public long long asked_ns, sent_ns, active_ns, first_byte_ns, deadline_ns, received
    cpdef object receive(self, bytes data)
    cpdef object receive_end(self, Fields trailers)
    cpdef object settle(self)
