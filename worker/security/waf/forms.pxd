cdef class Step:
    cdef readonly Step before
    cdef readonly object transform

cdef class Forms:
    cdef dict _by_value, _answers

    cpdef clear(self)
    cpdef object answer(self, object match, bytes value)
    cpdef dict of(self, bytes value)
    cpdef bytes transformed(self, bytes value, tuple names)

cpdef bytes form(dict forms, Step last)
