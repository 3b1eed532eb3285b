from worker.context cimport Context
from worker.message cimport Response
from worker.protocol.server cimport ConnectionServer
from worker.protocol.stream cimport Stream

cdef class Exchange(Stream):
    cdef public ConnectionServer server
    cdef public object connection, body, _task, _finish, _lending, _pace, _waiter, _tunnel
    cdef public Context _ctx
    cdef public bytes _websocket_key
    cdef public bint expecting, _bodiless, _responding, _wide
    cdef public long long _since_ns
    cdef public Py_ssize_t _copied
    cpdef object begin(self, Context ctx)
    cpdef object settle(self)
    cpdef object send(self, Context ctx, Response response, object finish)
