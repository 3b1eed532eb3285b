from worker.security.waf.forms cimport Forms, Step
from worker.security.waf.prefilter cimport Prefilter

cdef class Finding:
    cdef public object bits
    cdef public tuple effects

    cpdef add(self, Finding other)

cdef class Question:
    cdef public object bit, link, match
    cdef public bint is_keyed, is_negated, keeps_groups, keeps_value

    cpdef ask(self, tuple origin, bytes value, Finding found, Forms forms)

cdef class Group:
    cdef public Step last, scanned
    cdef public object searched
    cdef public dict by_pattern
    cdef public list direct

cdef class Plan:
    cdef Forms _forms
    cdef Prefilter _search
    cdef bint _needs_origin, _is_large
    cdef dict _memory, _groups
    cdef list _asked

    cpdef Finding find(self, str variable, bytes name, bytes value)
    cdef Finding _look(self, tuple origin, bytes value)
