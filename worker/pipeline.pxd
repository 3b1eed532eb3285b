from worker.context cimport Context
from worker.message cimport Response

cdef class Pipeline:
    cdef public tuple gates, send_filters, observers
    cdef public object fetch, error_page, spawn, refresh, _finish
    cpdef object handle(self, Context ctx, object exchange)
    cpdef object answer(self, Context ctx, Response response, object exchange)
    cpdef object finish(self, Context ctx)

cdef class Edge:
    cdef public object normalize, find, rejecting
    cpdef object handle(self, Context ctx, object exchange)
