from worker.protocol.request_id cimport RequestIds

cdef class ConnectionServer:
    cdef public object door, edge, limits, loop, second_reader, tally, trusted
    cdef public RequestIds ids
    cdef public Py_ssize_t max_line, max_header, max_fields, max_requests
    cdef public str listener, name
    cdef public bytes scheme, own_authority, date_line, alt_svc
    cdef public set connections
    cdef public long long refused, now_ns
    cdef public bint draining, lends_too_much, is_proxied
    cdef public double wall_offset_s
    cdef public dict authorities
    cdef public object siblings
    cdef public list _emptied
