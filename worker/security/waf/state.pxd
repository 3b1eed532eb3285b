from worker.security.waf.forms cimport Forms
from worker.security.waf.transaction cimport Transaction

cdef class State:
    cdef public Transaction transaction
    cdef public bint enforces, is_off
    cdef public Forms forms
    cdef public list matched, removed_ids, removed_targets, matched_vars
    cdef public object intervention, score
    cdef public set removed_tags
    cdef public dict removed_targets_by_tag, rule
    cdef public tuple first

    cpdef bytes scalar(self, str name)
    cpdef list pairs(self, str name)
