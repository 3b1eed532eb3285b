cdef class Memory:
    cdef dict _young, _old
    cdef Py_ssize_t _left

    cpdef object get(self, bytes key)
    cpdef put(self, bytes key, object value)
