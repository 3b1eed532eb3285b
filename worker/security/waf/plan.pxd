cimport cython
from worker.security.waf.forms cimport Form, Forms, Step
from worker.security.prefilter cimport Prefilter
from worker.security.waf.triggers cimport traits

cdef class Finding:
    cdef public object bits
    cdef public tuple effects

    cpdef add(self, Finding other)

cdef class Question:
    cdef public object bit, link, match
    cdef public bint is_keyed, is_negated, is_phrase, keeps_groups, keeps_value
    cdef public unsigned long long needs

    cpdef ask(self, tuple origin, Form asked, Finding found, Forms forms)
    cpdef note(self, tuple origin, tuple groups, Finding found)

cdef class Group:
    cdef public Step last, scanned
    cdef public unsigned long long needs
    cdef public bint searches
    cdef public dict by_pattern
    cdef public list direct

cdef class Plan:
    cdef Forms _forms
    cdef Prefilter _search
    cdef Finding _spare
    cdef bint _needs_origin
    cdef dict _memory, _groups, _made
    cdef list _asked

    cpdef Finding find(self, str variable, bytes name, bytes value)
    @cython.locals(whole=Form, groups=list, group=Group, found=Finding)
    cdef Finding _look(self, tuple origin, bytes value)
    @cython.locals(scanned=Form, questions=list)
    cdef _search_in(self, Group group, Form whole, tuple origin, Finding found)
    @cython.locals(question=Question)
    cdef _confirm(self, list questions, Form asked, tuple origin, Finding found)
    @cython.locals(question=Question)
    cdef _ask(self, list questions, Form asked, tuple origin, Finding found)
