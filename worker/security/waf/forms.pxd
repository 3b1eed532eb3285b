cimport cython
from worker.security.waf.kinds cimport kinds

cdef class Step:
    cdef readonly Step before
    cdef readonly object transform

cdef class Form:
    cdef public bytes text
    cdef public unsigned long long held
    cdef public object searched_by
    cdef public list candidates
    cdef public dict further

cdef class Forms:
    cdef dict _by_value, _answers
    cdef long long _budget_ns, _end_ns
    cdef Py_ssize_t _work

    cpdef clear(self)
    cpdef begin(self)
    cpdef spend(self, bytes value)
    cpdef object answer(self, object match, bytes value)
    @cython.locals(found=Form)
    cpdef Form of(self, bytes value)
    @cython.locals(found=Form, before=Form, text=bytes)
    cpdef Form after(self, Form whole, Step last)
    @cython.locals(whole=Form)
    cpdef bytes transformed(self, bytes value, tuple names)
