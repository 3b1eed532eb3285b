from worker.security.waf.forms cimport Forms
from worker.security.waf.plan cimport Finding, Plan
from worker.security.waf.prefilter cimport Prefilter

cdef class Probes:
    cdef public object unforeseen, _limits, _narrow, _unasked, _width
    cdef public dict _asked, _counted, _patterns, _plans, _picky, _picked, _shared, _lines, _fields, _heads, _addresses
    cdef public tuple _shifts
    cdef public Forms _forms
    cdef public Prefilter _wide_filter, _narrow_filter
    cdef public Finding _without_body

    cpdef Finding of_head(self, request)
    cdef Finding _of_variables(self, state, variables, Finding found)
    cdef Finding _of_line(self, request)
    cdef Finding _of_field(self, bytes name, bytes value)
    cdef _of_member(self, str variable, bytes name, bytes value, Finding found)
    cdef Finding _of_names(self, request)
    cdef Finding _of_address(self, str address)
    cdef Finding _of_empty_body(self)
