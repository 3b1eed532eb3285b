cdef class Step:
    cdef readonly Step before
    cdef readonly object transform

cdef class Forms:
    cdef dict _by_value, _answers
    cdef long long _budget_ns, _end_ns
    cdef Py_ssize_t _work

    cpdef clear(self)
    cpdef begin(self)
    cpdef spend(self, bytes value)
    cpdef object answer(self, object match, bytes value)
    cpdef dict of(self, bytes value)
    cpdef bytes transformed(self, bytes value, tuple names)

cpdef bytes form(dict forms, Step last)
