# cython: language_level=3, boundscheck=False, wraparound=False
"""A fresh stored response that needs no weighing, turned into an answer without looking at its fields.

The metadata's prefix is that of `entry` (birth, status, length of the field block); the field block
is lent to the answer as it lies there.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.string cimport memcpy

from shmcache.core cimport Hit
from worker.context cimport Context
from worker.fields cimport Fields
from worker.message cimport Response

from worker.cache.entry import DamagedEntry, PREFIX_BYTES as _PREFIX_BYTES, SETTLED as _SETTLED
from worker.reasons import Outcome

cdef int SETTLED = _SETTLED
cdef Py_ssize_t PREFIX_BYTES = _PREFIX_BYTES
cdef object HIT = Outcome.HIT
cdef int64_t SECOND_NS = 1_000_000_000

if PREFIX_BYTES != 14:
    raise ImportError("the metadata prefix is not the one this module reads")


def plain_hit(Context ctx not None, Hit hit not None, bint with_body):
    """The answer for `hit`, whose verdict and flags the caller has looked at; sets outcome, age_s and ttl_s.

    Raises DamagedEntry for metadata of which that cannot be made.
    """
    cdef bytes meta = hit.meta
    cdef const char *data = PyBytes_AS_STRING(meta)
    cdef int64_t birth_ns, fresh_until_ns = hit.fresh_until_ns
    cdef uint16_t status
    cdef uint32_t length
    if PyBytes_GET_SIZE(meta) < PREFIX_BYTES:
        raise DamagedEntry("stored metadata is shorter than its prefix")
    memcpy(&birth_ns, data, 8)  # little-endian, as every platform we run on
    memcpy(&status, data + 8, 2)
    memcpy(&length, data + 10, 4)
    if PyBytes_GET_SIZE(meta) - PREFIX_BYTES < length:
        raise DamagedEntry("stored metadata is shorter than its field block")
    if status < 200 or status > 599 or length and data[PREFIX_BYTES + length - 1] != b"\n":
        raise DamagedEntry("stored metadata that no response can have")
    cdef Fields fields = Fields.__new__(Fields)
    fields.block = meta
    fields.start = PREFIX_BYTES
    fields.end = PREFIX_BYTES + length
    cdef Response response = Response.__new__(Response)
    response.status = status
    response.fields = fields
    response.body = hit.body if with_body else None
    response.length = hit.size
    response.settled = hit.flags & SETTLED != 0
    ctx.outcome = HIT
    ctx.age_s = (ctx.now_ns - birth_ns) // SECOND_NS
    ctx.ttl_s = (fresh_until_ns - ctx.now_ns) // SECOND_NS
    return response
