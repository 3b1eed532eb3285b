cimport cython
from worker.security.waf.forms cimport Forms
from worker.security.waf.plan cimport Finding, Plan
from worker.security.waf.transaction cimport HttpRequest, Transaction

cdef class Probes:
    cdef public object unforeseen, _limits, _unasked, _width
    cdef public dict _asked, _counted, _patterns, _plans, _picky, _picked, _shared, _lines, _fields, _heads, _addresses
    cdef public tuple _shifts
    cdef public list _of_lines, _every
    cdef public Forms _forms
    cdef public list _filters
    cdef public Finding _without_body

    @cython.locals(found=Finding, line=Finding, finding=Finding, head=Finding, address=Finding, names=list)
    cpdef Finding of_head(self, HttpRequest request)
    @cython.locals(members=list, name=bytes, value=bytes, variable=str)
    cdef Finding _of_variables(self, Transaction transaction, list variables, Finding found)
    cdef Finding _of_line(self, HttpRequest request)
    cdef Finding _of_field(self, bytes name, bytes value)
    @cython.locals(plan=Plan, plans=dict, finding=Finding)
    cdef _of_member(self, str variable, bytes name, bytes value, Finding found)
    cdef Finding _of_names(self, HttpRequest request)
    cdef Finding _of_address(self, str address)
    cdef Finding _of_empty_body(self)
