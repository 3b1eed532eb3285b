# cython: language_level=3, boundscheck=False, wraparound=False
"""Request ids: 128 random bits in 32 lower-case hex digits; nobody guesses them, no two workers share one."""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef enum:
    ID_BYTES = 16
    IDS_PER_READ = 256  # one system call for this many ids

cdef const char *HEX = b"0123456789abcdef"


cdef class RequestIds:
    cpdef bytes take(self):
        cdef bytes digits
        cdef char *to
        cdef unsigned char byte
        cdef int i
        if self.at == ID_BYTES * IDS_PER_READ or self.random is None:
            self.random = os.urandom(ID_BYTES * IDS_PER_READ)
            self.at = 0
        digits = PyBytes_FromStringAndSize(NULL, 2 * ID_BYTES)
        to = PyBytes_AS_STRING(digits)
        for i in range(ID_BYTES):
            byte = <unsigned char>PyBytes_AS_STRING(self.random)[self.at + i]
            to[2 * i] = HEX[byte >> 4]
            to[2 * i + 1] = HEX[byte & 15]
        self.at += ID_BYTES
        return digits
