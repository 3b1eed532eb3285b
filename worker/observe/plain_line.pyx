# cython: language_level=3, boundscheck=False, wraparound=False
"""The access log's JSON line for a request without trouble, written in one pass without an object per value.

The general line is `log_line`'s, which also says what the members mean; this one gives up (None) whenever a
value would have to be escaped or the line would be long, and writes byte for byte what that one would.
Of a request passed on it takes 0.6 us instead of 14.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy, strlen

from worker.context cimport Context
from worker.digits cimport put_number
from worker.fields cimport Fields
from worker.message cimport Request

cdef enum:
    ROOM = 3072  # shorter than what a pipe takes whole (PIPE_BUF, 4096)
    SPARE = 256  # for names, punctuation and numbers


cdef struct Writer:
    char *at
    const char *end


cdef bint plain(const char *value, Py_ssize_t size) noexcept nogil:
    """Is `value` printable ASCII that JSON takes as it is?"""
    cdef Py_ssize_t i
    cdef unsigned char c, bad = 0
    for i in range(size):
        c = value[i]
        bad |= (c < 0x20) | (c > 0x7e) | (c == 0x22) | (c == 0x5c)
    return not bad


cdef inline void literal(Writer *to, const char *text) noexcept nogil:
    cdef size_t size = strlen(text)
    memcpy(to.at, text, size)
    to.at += size


cdef bint member(Writer *to, const char *name, bytes value) noexcept:
    """`,"name":"value"`; nothing for an empty value. False if it cannot be written as it is."""
    if value is None:
        return True
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    if size == 0:
        return True
    if to.at + size + SPARE > to.end or not plain(PyBytes_AS_STRING(value), size):
        return False
    literal(to, name)
    memcpy(to.at, PyBytes_AS_STRING(value), size)
    to.at += size
    to.at[0] = c'"'
    to.at += 1
    return True


cdef bint text(Writer *to, const char *name, object value) except -1:
    """`member` for text, and for words of `worker.reasons`."""
    if value is None:
        return True
    cdef Py_ssize_t size = 0
    cdef const char *data = PyUnicode_AsUTF8AndSize(value, &size)
    if size == 0:
        return True
    if to.at + size + SPARE > to.end or not plain(data, size):
        return False
    literal(to, name)
    memcpy(to.at, data, size)
    to.at += size
    to.at[0] = c'"'
    to.at += 1
    return True


cdef inline void number(Writer *to, const char *name, long long value) noexcept nogil:
    literal(to, name)
    to.at = put_number(to.at, value)


cdef inline bint amount(Writer *to, const char *name, long long value) noexcept nogil:
    """`number`, unless it is zero. False if there is no room."""
    if value == 0:
        return True
    if to.at + SPARE > to.end:
        return False
    number(to, name, value)
    return True


def plain_line(bytes begin not None, Context ctx not None):
    """The line of a request that nothing was held against; None if it is not to be written this way.

    `begin` is what `log_line` begins a line with, up to the request id. The request has no error, no identity
    of its client, no leaks and no judgement of the WAF; the caller has made sure of that.
    """
    cdef char[ROOM] room
    cdef Writer to
    cdef Request request = ctx.request
    cdef Fields fields = request.fields
    cdef Py_ssize_t size = PyBytes_GET_SIZE(begin)
    to.at = room
    to.end = room + ROOM
    if size + PyBytes_GET_SIZE(ctx.request_id) + SPARE > ROOM:
        return None
    memcpy(to.at, PyBytes_AS_STRING(begin), size)
    to.at += size
    memcpy(to.at, PyBytes_AS_STRING(ctx.request_id), PyBytes_GET_SIZE(ctx.request_id))
    to.at += PyBytes_GET_SIZE(ctx.request_id)
    to.at[0] = c'"'
    to.at += 1
    if not (
        text(&to, b',"client":"', ctx.client.address)
        and member(&to, b',"method":"', request.method)
        and member(&to, b',"host":"', request.host)
        and member(&to, b',"path":"', request.path)
        and member(&to, b',"query":"', request.query)
        and member(&to, b',"version":"', request.version)
    ):
        return None
    number(&to, b',"status":', ctx.status)
    if not (
        text(&to, b',"cache":"', ctx.outcome)
        and text(&to, b',"forward":"', ctx.forward)
        and text(&to, b',"not_storable":"', ctx.not_storable)
        and text(&to, b',"block":"', ctx.block)
        and text(&to, b',"origin":"', ctx.origin)
        and amount(&to, b',"origin_status":', ctx.forwarded_status)
        and amount(&to, b',"origin_us":', ctx.first_byte_ns // 1000)
        and amount(&to, b',"connect_us":', ctx.connect_ns // 1000)
        and amount(&to, b',"retries":', ctx.retries)
        and (ctx.route is None or text(&to, b',"route":"', ctx.route.name))
        and amount(&to, b',"bytes_in":', ctx.bytes_in)
    ):
        return None
    number(&to, b',"bytes_out":', ctx.bytes_out)
    number(&to, b',"duration_us":', (ctx.ended_ns - ctx.started_ns) // 1000)
    if not (
        member(&to, b',"user_agent":"', fields.get(b"user-agent"))
        and member(&to, b',"referer":"', fields.get(b"referer"))
    ):
        return None
    literal(&to, b"}\n")
    return PyBytes_FromStringAndSize(room, to.at - room)
