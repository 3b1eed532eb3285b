from worker.cache.store cimport Store

cdef class Fill:
    cdef public object _fetch, _cache, _negotiation, _lookup, _flights, _spawn, _clock, _wall, _key_of, _rules
    cdef public bint _enabled, _collapse
    cdef public long long _max_bytes
    cdef public Store _store
    cdef public tuple _store_filters
