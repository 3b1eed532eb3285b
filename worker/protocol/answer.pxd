from worker.context cimport Context
from worker.message cimport Response
from worker.protocol.server cimport ConnectionServer

cdef class Answering:
    cdef public ConnectionServer server
    cdef public object _loop, _transport, _task, _body, _writable, _lending, _finish
    cdef public Context _ctx
    cdef public bint _expecting, _keep, _http10, _bodiless, _responding, _paused
    cdef public bytes _pending
    cpdef object send(self, Context ctx, Response response, object finish)
    cpdef object _become_idle(self)
    cpdef object _done(self)
