# What we use of libnghttp2, as its header declares it (1.40 or later), how field lines become its pairs, and how
# its frames become the bytes that are sent. Both ends need it: the server of our clients and the client of our
# origins.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport realloc
from libc.string cimport memchr, memcmp, memcpy

from worker.fields cimport Fields

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL

cdef extern from "nghttp2/nghttp2.h":
    ctypedef struct nghttp2_session
    ctypedef struct nghttp2_session_callbacks
    ctypedef struct nghttp2_option

    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen, valuelen
        uint8_t flags

    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type, flags

    ctypedef struct nghttp2_data:
        size_t padlen

    ctypedef struct nghttp2_headers:
        int cat

    ctypedef struct nghttp2_rst_stream:
        uint32_t error_code

    ctypedef struct nghttp2_goaway:
        int32_t last_stream_id
        uint32_t error_code
        uint8_t *opaque_data
        size_t opaque_data_len

    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_data data
        nghttp2_headers headers
        nghttp2_rst_stream rst_stream
        nghttp2_goaway goaway

    ctypedef union nghttp2_data_source:
        void *ptr

    ctypedef ssize_t (*nghttp2_data_source_read_callback)(
        nghttp2_session *, int32_t, uint8_t *, size_t, uint32_t *, nghttp2_data_source *, void *
    ) noexcept

    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        nghttp2_data_source_read_callback read_callback

    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value

    enum:
        NGHTTP2_DATA, NGHTTP2_HEADERS, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS, NGHTTP2_PING, NGHTTP2_GOAWAY
        NGHTTP2_CONTINUATION
        NGHTTP2_FLAG_NONE, NGHTTP2_FLAG_END_STREAM, NGHTTP2_FLAG_ACK
        NGHTTP2_HCAT_REQUEST
        NGHTTP2_NV_FLAG_NONE, NGHTTP2_NV_FLAG_NO_INDEX
        NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_END_STREAM, NGHTTP2_DATA_FLAG_NO_COPY
        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, NGHTTP2_SETTINGS_ENABLE_PUSH
        NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_INTERNAL_ERROR, NGHTTP2_REFUSED_STREAM
        NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM
        NGHTTP2_ERR_DEFERRED, NGHTTP2_ERR_PAUSE, NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_ERR_BAD_CLIENT_MAGIC
        NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE

    int nghttp2_session_callbacks_new(nghttp2_session_callbacks **)
    void nghttp2_session_callbacks_set_on_begin_frame_callback(
        nghttp2_session_callbacks *, int (*)(nghttp2_session *, const nghttp2_frame_hd *, void *) noexcept)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(
        nghttp2_session_callbacks *, int (*)(nghttp2_session *, const nghttp2_frame *, void *) noexcept)
    void nghttp2_session_callbacks_set_on_header_callback(
        nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t, const uint8_t *, size_t, uint8_t,
                void *) noexcept)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(
        nghttp2_session_callbacks *, int (*)(nghttp2_session *, const nghttp2_frame *, void *) noexcept)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *) noexcept)
    void nghttp2_session_callbacks_set_on_frame_send_callback(
        nghttp2_session_callbacks *, int (*)(nghttp2_session *, const nghttp2_frame *, void *) noexcept)
    void nghttp2_session_callbacks_set_send_data_callback(
        nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, nghttp2_frame *, const uint8_t *, size_t, nghttp2_data_source *, void *) noexcept)
    void nghttp2_session_callbacks_set_on_stream_close_callback(
        nghttp2_session_callbacks *, int (*)(nghttp2_session *, int32_t, uint32_t, void *) noexcept)

    void nghttp2_session_callbacks_set_on_invalid_header_callback(
        nghttp2_session_callbacks *,
        int (*)(nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t, const uint8_t *, size_t, uint8_t,
                void *) noexcept)
    void nghttp2_session_callbacks_set_error_callback2(
        nghttp2_session_callbacks *, int (*)(nghttp2_session *, int, const char *, size_t, void *) noexcept)

    int nghttp2_option_new(nghttp2_option **)
    void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int)
    void nghttp2_option_set_no_closed_streams(nghttp2_option *, int)
    void nghttp2_option_set_max_send_header_block_length(nghttp2_option *, size_t)

    int nghttp2_session_server_new2(
        nghttp2_session **, const nghttp2_session_callbacks *, void *, const nghttp2_option *)
    int nghttp2_session_client_new2(
        nghttp2_session **, const nghttp2_session_callbacks *, void *, const nghttp2_option *)
    void nghttp2_session_del(nghttp2_session *)
    ssize_t nghttp2_session_mem_recv(nghttp2_session *, const uint8_t *, size_t)
    ssize_t nghttp2_session_mem_send(nghttp2_session *, const uint8_t **)
    int nghttp2_session_want_read(nghttp2_session *)
    int nghttp2_session_want_write(nghttp2_session *)
    int nghttp2_session_resume_data(nghttp2_session *, int32_t)
    void *nghttp2_session_get_stream_user_data(nghttp2_session *, int32_t)
    int nghttp2_session_set_stream_user_data(nghttp2_session *, int32_t, void *)
    int nghttp2_session_get_stream_local_close(nghttp2_session *, int32_t)
    int nghttp2_session_get_stream_remote_close(nghttp2_session *, int32_t)
    int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session *)
    int nghttp2_session_consume_connection(nghttp2_session *, size_t)
    int nghttp2_session_consume_stream(nghttp2_session *, int32_t, size_t)
    int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t, int32_t, int32_t)
    int nghttp2_session_terminate_session(nghttp2_session *, uint32_t)
    int nghttp2_session_check_request_allowed(nghttp2_session *)
    uint32_t nghttp2_session_get_remote_settings(nghttp2_session *, int)
    int32_t nghttp2_submit_request(
        nghttp2_session *, const void *, const nghttp2_nv *, size_t, const nghttp2_data_provider *, void *)
    int nghttp2_submit_ping(nghttp2_session *, uint8_t, const uint8_t *)
    int nghttp2_submit_settings(nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t)
    int nghttp2_submit_response(
        nghttp2_session *, int32_t, const nghttp2_nv *, size_t, const nghttp2_data_provider *)
    int32_t nghttp2_submit_headers(
        nghttp2_session *, uint8_t, int32_t, const void *, const nghttp2_nv *, size_t, void *)
    int nghttp2_submit_trailer(nghttp2_session *, int32_t, const nghttp2_nv *, size_t)
    int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t, int32_t, uint32_t)
    int nghttp2_submit_shutdown_notice(nghttp2_session *)
    int nghttp2_submit_goaway(nghttp2_session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t)

cdef extern from *:
    """
    #ifndef EDGECLUSTER_PAIRS
    #define EDGECLUSTER_PAIRS
    #include <string.h>
    #include <nghttp2/nghttp2.h>

    /* Room for the fields of one message on their way into libnghttp2, which copies them. */
    typedef struct { nghttp2_nv *data; size_t room; } Pairs;

    /* Does a lower- or mixed-case name say something about one HTTP/1 connection only (RFC 9113 8.2.2)? */
    static int speaks_of_connection(const char *name, size_t size)
    {
        switch (size) {
        case 7: return !strncasecmp(name, "upgrade", 7);
        case 10: return !strncasecmp(name, "connection", 10) || !strncasecmp(name, "keep-alive", 10);
        case 16: return !strncasecmp(name, "proxy-connection", 16);
        case 17: return !strncasecmp(name, "transfer-encoding", 17);
        }
        return 0;
    }

    /* Is the value one request's or one client's? It would only push out of the table what comes again, and what
       is secret has no place in a table that clients share (RFC 7541 7.1). */
    static int is_of_one(const char *name, size_t size)
    {
        switch (size) {
        case 6: return !strncasecmp(name, "cookie", 6);
        case 9: return !strncasecmp(name, "x-real-ip", 9) || !strncasecmp(name, "forwarded", 9);
        case 12: return !strncasecmp(name, "x-request-id", 12);
        case 13: return !strncasecmp(name, "authorization", 13);
        case 15: return !strncasecmp(name, "x-forwarded-for", 15);
        }
        return 0;
    }
    #endif
    """
    ctypedef struct Pairs:
        nghttp2_nv *data
        size_t room

    bint speaks_of_connection(const char *name, size_t size)
    bint is_of_one(const char *name, size_t size)


cdef inline int set_pair(Pairs *pairs, size_t at, const char *name, size_t name_size, const char *value,
                         size_t value_size, uint8_t flags) except -1:
    """Make that field the pair number `at`."""
    cdef nghttp2_nv *pair
    cdef size_t room
    if at >= pairs.room:
        room = pairs.room * 2 if pairs.room else 64
        grown = <nghttp2_nv *>realloc(pairs.data, room * sizeof(nghttp2_nv))
        if grown == NULL:
            raise MemoryError
        pairs.data = grown
        pairs.room = room
    pair = &pairs.data[at]
    pair.name = <uint8_t *>name
    pair.namelen = name_size
    pair.value = <uint8_t *>value
    pair.valuelen = value_size
    pair.flags = flags
    return 0


cdef inline size_t set_pairs(Pairs *pairs, size_t at, bytes lines, Py_ssize_t start, bint *dated) except? 0:
    """Put lines[start:] behind the first `at` pairs; how many there are then. `dated`: a Date is among them."""
    cdef const char *p = PyBytes_AS_STRING(lines) + start
    cdef const char *end = PyBytes_AS_STRING(lines) + PyBytes_GET_SIZE(lines)
    cdef const char *colon
    cdef const char *value
    cdef const char *value_end
    cdef const char *line_end
    cdef size_t size
    while p < end:
        colon = <const char *>memchr(p, c":", end - p)
        if colon == NULL:
            break
        line_end = <const char *>memchr(colon, c"\n", end - colon)
        if line_end == NULL:
            break
        value = colon + 1
        value_end = line_end
        while value < value_end and (value[0] == c" " or value[0] == c"\t"):
            value += 1
        while value_end > value and (value_end - 1)[0] in (c"\r", c" ", c"\t"):
            value_end -= 1
        size = colon - p
        if not speaks_of_connection(p, size):
            if size == 4 and (p[0] | 32) == c"d" and memcmp(p + 1, b"ate", 3) == 0:
                dated[0] = True
            set_pair(pairs, at, p, size, value, value_end - value,
                     NGHTTP2_NV_FLAG_NO_INDEX if is_of_one(p, size) else NGHTTP2_NV_FLAG_NONE)
            at += 1
        p = line_end + 1
    return at


cdef inline int set_options(nghttp2_option **options) except -1:
    """The options of either end: windows are widened by whoever reads, and streams that have ended take no room."""
    if nghttp2_option_new(options):
        raise MemoryError
    nghttp2_option_set_no_auto_window_update(options[0], 1)
    nghttp2_option_set_no_closed_streams(options[0], 1)
    nghttp2_option_set_max_send_header_block_length(options[0], 1024 * 1024)
    return 0


cdef inline int begin(nghttp2_session *session, const nghttp2_settings_entry *settings, size_t count,
                      int32_t window) except -1:
    """Say what we want of the other end. `window`: of the connection."""
    if nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, count):
        raise MemoryError
    if nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, window):
        raise MemoryError
    return 0


cdef inline bint has_nothing_to_say(nghttp2_session *session):
    """All is said: the connection may be closed."""
    return session == NULL or not (nghttp2_session_want_read(session) or nghttp2_session_want_write(session))


cdef inline bint brings_nothing(const nghttp2_frame_hd *hd) noexcept:
    """Neither data nor the end of a message, as far as the head of the frame tells."""
    return hd.type != NGHTTP2_DATA or (hd.length == 0 and not hd.flags & NGHTTP2_FLAG_END_STREAM)


cdef inline ssize_t offer_data(nghttp2_session *session, int32_t stream_id, size_t left, size_t size, bint last,
                               Fields trailers, uint32_t *flags, Pairs *pairs) except? -1:
    """How many of the `left` bytes of a body go into a frame of at most `size`. `last`: no others follow them,
    only the trailers or None."""
    cdef bytes lines
    cdef bint dated = False
    if left == 0 and not last:
        return NGHTTP2_ERR_DEFERRED
    flags[0] = NGHTTP2_DATA_FLAG_NO_COPY
    if left <= size and last:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
        if trailers is not None and len(trailers):
            flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
            lines = trailers.encode()
            nghttp2_submit_trailer(session, stream_id, pairs.data, set_pairs(pairs, 0, lines, 0, &dated))
    return min(left, size)


cdef enum:
    BUDGET = 64 * 1024  # bytes taken at once, and the rest of a frame
    FRAME_HEAD = 9
    FRAME = 16 * 1024 + FRAME_HEAD

cdef struct Outgoing:
    # What a session sends next: frames of many streams in one piece. Zeroed, it is empty.
    PyObject *taken  # bytes under construction within `take_frames`
    Py_ssize_t size, room
    Py_ssize_t queued  # about how many bytes wait for their turn


cdef inline bytes take_frames(nghttp2_session *session, Outgoing *out, bint *failed):
    """What is to be sent, about 64 KiB at most. Sets `failed` if libnghttp2 could not go on."""
    cdef const uint8_t *data
    cdef ssize_t size
    out.room = min(max(out.queued, 2048), BUDGET + FRAME)
    out.queued = 0
    out.size = 0
    out.taken = new_bytes(NULL, out.room)
    try:
        while out.size < BUDGET:
            size = nghttp2_session_mem_send(session, &data)
            if size <= 0:
                if size < 0:
                    failed[0] = True
                break
            put_bytes(out, data, size)
        if out.size >= BUDGET:  # there is more: make room for it at once
            out.queued = BUDGET + FRAME
        _PyBytes_Resize(&out.taken, out.size)
        return <bytes><object>out.taken
    finally:
        Py_XDECREF(out.taken)
        out.taken = NULL


cdef inline int put_bytes(Outgoing *out, const void *data, Py_ssize_t size) except -1:
    """Append to what is taken."""
    if out.room - out.size < size:
        out.room = max(2 * out.room, out.size + size)
        _PyBytes_Resize(&out.taken, out.room)
    memcpy(PyBytes_AS_STRING(<object>out.taken) + out.size, data, size)
    out.size += size
    return 0
