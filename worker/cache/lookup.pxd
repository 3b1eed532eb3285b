from worker.context cimport Context
from worker.message cimport Request, Response

cdef class Place:
    cdef public bytes key
    cdef public object hit, stored
    cdef public bint alone, varied

cdef class Lookup:
    cdef public object _get, _delete, _rules, _codings, _negotiation, _key
    cdef public bint _enabled
