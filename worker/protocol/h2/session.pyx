# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""One connection's HTTP/2 framing (RFC 9113), by libnghttp2: bytes in, requests out; answers in, bytes out.

`Session` is the connection, and what its streams ask of it. Knows no transport, clock or pipeline. Two readers judge every header section, libnghttp2 and the validator of `worker.fields`; what either
refuses is reset and never seen above. A body is copied once, from where it lies into the bytes that `take` hands
out: frames of many streams leave as one piece, and one TLS record does not end with each frame's header.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdio cimport snprintf

from worker.fields cimport Fields, Section
from worker.nghttp2 cimport *
from worker.protocol.stream cimport Framing, Stream

cdef enum:
    PREFACE = 24
    CONTINUATIONS = 8  # frames of one header section behind its first; 64 KiB need three
    WINDOW = 16 * 1024 * 1024  # of the connection, so that only the streams' own windows hold a client back
    TOO_LARGE_FACTOR = 8  # a header section so many times the limit is an attack, and ends the connection
    NO_RFC7540_PRIORITIES = 9  # the setting (RFC 9218 2.1)

NO_ERROR = NGHTTP2_NO_ERROR
PROTOCOL_ERROR = NGHTTP2_PROTOCOL_ERROR
ENHANCE_YOUR_CALM = NGHTTP2_ENHANCE_YOUR_CALM

# The fields of one message on their way into libnghttp2, which copies them. Under the GIL, never across a call.
cdef Pairs pairs

cdef nghttp2_session_callbacks *callbacks = NULL
cdef nghttp2_option *options = NULL


cdef class Session(Framing):
    """One connection, as its server. `owner` is handed to `make_stream`, which makes a Stream for each request."""

    def __init__(self, owner, make_stream, *, uint32_t streams, size_t header_bytes, int header_count,
                 int resets, int empty_frames):
        """`streams` at a time; `resets` of streams and `empty_frames` (that carry neither request nor data)
        between two calls of `forgive`: more end the connection with ENHANCE_YOUR_CALM."""
        cdef nghttp2_settings_entry settings[4]
        self.owner = owner
        self.make_stream = make_stream
        self.section = Section()
        self.ready = []
        self.max_bytes = header_bytes
        self.max_fields = header_count
        self.max_resets = resets
        self.max_empty_frames = empty_frames
        self.skip = PREFACE
        if nghttp2_session_server_new2(&self.session, callbacks, <void *>self, options):
            raise MemoryError
        settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        settings[0].value = streams
        settings[1].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        settings[1].value = <uint32_t>header_bytes
        settings[2].settings_id = NO_RFC7540_PRIORITIES
        settings[2].value = 1
        settings[3].settings_id = NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
        settings[3].value = 1
        begin(self.session, settings, 4, WINDOW)

    def __dealloc__(self):
        nghttp2_session_del(self.session)

    cpdef list receive(self, bytes data):
        """The streams whose request heads `data` completes; what it says of others has been told to them."""
        cdef ssize_t read
        cdef list ready
        if self.failed or self.session == NULL:
            return []
        read = nghttp2_session_mem_recv(
            self.session, <const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        if read < 0:
            self.failed = True
            if self.error is not None:
                self.fault = NGHTTP2_INTERNAL_ERROR
            elif self.fault == NGHTTP2_NO_ERROR:
                # What else is fatal to libnghttp2 is a flood that it noticed first, or memory that is short.
                is_alien = read == NGHTTP2_ERR_BAD_CLIENT_MAGIC
                self.fault = NGHTTP2_PROTOCOL_ERROR if is_alien else NGHTTP2_ENHANCE_YOUR_CALM
            nghttp2_session_terminate_session(self.session, self.fault)
            if self.error is not None:
                error, self.error = self.error, None
                raise error
        else:
            self.count_frames(<const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if self.is_flooded() and not self.failed:
                self.terminate(NGHTTP2_ENHANCE_YOUR_CALM)
        ready = self.ready
        self.ready = []
        return ready

    cdef int count_frames(self, const unsigned char *data, Py_ssize_t size) noexcept:
        """Count as empty the frames that libnghttp2 passes over without a word: those of types it does not
        know, and data for streams that have ended."""
        cdef Py_ssize_t step
        while size:
            if self.skip:
                step = min(self.skip, size)
                self.skip -= step
            else:
                if self.head_at < 3:
                    self.head_length = self.head_length << 8 | data[0]
                self.head_at += 1
                if self.head_at == FRAME_HEAD:
                    self.frames += 1
                    self.skip = self.head_length
                    self.head_at = self.head_length = 0
                step = 1
            data += step
            size -= step
        if self.frames - self.told > self.passed_over:
            self.empty_frames += self.frames - self.told - self.passed_over
            self.passed_over = self.frames - self.told
        return 0

    @property
    def has_begun(self):
        return self.frames > 0

    cpdef bytes take(self):
        """What is to be sent, about 64 KiB at most; b"" when nothing is, or may be."""
        cdef bytes taken
        if self.session == NULL or not nghttp2_session_want_write(self.session):
            return b""
        taken = take_frames(self.session, &self.out, &self.failed)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if self.is_flooded() and not self.failed:  # by resets that we have just sent
            self.terminate(NGHTTP2_ENHANCE_YOUR_CALM)
        return taken

    def forgive(self):
        """A second has passed: resets and empty frames are counted anew."""
        self.resets = self.empty_frames = 0

    def give_notice(self):
        """Tell the client to open no more streams, but take those that are on their way (RFC 9113 6.8)."""
        if self.session != NULL:
            nghttp2_submit_shutdown_notice(self.session)

    def go_away(self):
        """Take no more streams; those there are come to their end."""
        if self.session != NULL:
            nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                                  NGHTTP2_NO_ERROR, NULL, 0)

    cpdef object terminate(self, uint32_t code):
        """Say GOAWAY with that error; nothing else follows it."""
        self.failed = True
        if self.session != NULL:
            nghttp2_session_terminate_session(self.session, code)

    def close(self):
        """The connection is gone. The streams that were open, which will hear no more of it."""
        left = self.give_up(NGHTTP2_CANCEL)
        self.ready = []
        nghttp2_session_del(self.session)
        self.session = NULL
        self.owner = self.make_stream = None
        return left

    @property
    def is_over(self):
        """All is said: the connection may be closed."""
        return has_nothing_to_say(self.session)

    cdef bint is_flooded(self) noexcept:
        return self.empty_frames > self.max_empty_frames or self.resets > self.max_resets

    cdef int fail(self, uint32_t fault) noexcept:
        """End the connection from within a callback."""
        self.fault = fault
        return NGHTTP2_ERR_CALLBACK_FAILURE

    cdef int head_end(self, Stream stream, bint ended) except -1:
        if self.section.why() is not None:
            nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_PROTOCOL_ERROR)
            return 0
        stream.read_head(self.section)
        stream.ended = ended
        self.ready.append(stream)
        return 0

    cdef int trailers_end(self, Stream stream) except -1:
        cdef Section section = self.section
        if section.why() is not None or section.too_large or stream.protocol is not None:
            nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_PROTOCOL_ERROR)
        else:
            stream.ended = True
            stream.receive_end(section.fields())
        return 0

    # stream.Framing

    cpdef int answer(self, Stream stream, int status, Fields fields, bytes date_line, Py_ssize_t length) except -1:
        """Send the head of an answer; what the stream holds of its body follows."""
        cdef char number[24]
        cdef char code[4]
        cdef nghttp2_data_provider provider
        cdef nghttp2_data_provider *body = &provider
        cdef bytes lines = fields.encode()
        cdef bint dated = False
        cdef size_t count
        snprintf(code, 4, b"%03d", status)
        set_pair(&pairs, 0, b":status", 7, code, 3, NGHTTP2_NV_FLAG_NONE)
        count = set_pairs(&pairs, 1, lines, 0, &dated)
        if not dated and date_line is not None:
            set_pair(&pairs, count, b"date", 4, PyBytes_AS_STRING(date_line) + 6, PyBytes_GET_SIZE(date_line) - 8,
                     NGHTTP2_NV_FLAG_NONE)
            count += 1
        if length >= 0:
            set_pair(&pairs, count, b"content-length", 14, number, snprintf(number, 24, b"%zd", length), NGHTTP2_NV_FLAG_NONE)
            count += 1
        provider.source.ptr = <void *>stream
        provider.read_callback = read_body
        self.out.queued += PyBytes_GET_SIZE(lines) + 128
        if stream.lending is not None:
            self.out.queued += BUDGET
        elif stream.size:
            self.out.queued += stream.size + 9
        elif stream.last:
            body = NULL
        if nghttp2_submit_response(self.session, stream.id, pairs.data, count, body):
            raise RuntimeError("libnghttp2 took no response")
        return 0

    cpdef int interim(self, Stream stream, int status, Fields fields) except -1:
        cdef char code[4]
        cdef bint dated = False
        cdef size_t count
        cdef bytes lines = fields.encode()
        snprintf(code, 4, b"%03d", status)
        set_pair(&pairs, 0, b":status", 7, code, 3, NGHTTP2_NV_FLAG_NONE)
        count = set_pairs(&pairs, 1, lines, 0, &dated)
        nghttp2_submit_headers(self.session, NGHTTP2_FLAG_NONE, stream.id, NULL, pairs.data, count, NULL)
        return 0

    cpdef int resume(self, Stream stream) except -1:
        self.out.queued += stream.size - stream.at + 32
        nghttp2_session_resume_data(self.session, stream.id)
        return 0

    cpdef int reset(self, Stream stream, int code) except -1:
        nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, stream.id, code)
        return 0

    cpdef int consumed(self, Stream stream, Py_ssize_t size) except -1:
        nghttp2_session_consume_stream(self.session, stream.id, size)
        return 0

    cpdef int widen(self, Stream stream, Py_ssize_t size) except -1:
        nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, stream.id, size)
        return 0

    cpdef bint has_ended(self, Stream stream) except -1:
        return nghttp2_session_get_stream_local_close(self.session, stream.id) == 1


# libnghttp2's callbacks. Exceptions are kept for `receive` or `take` to raise.

cdef int on_begin_frame(nghttp2_session *_, const nghttp2_frame_hd *hd, void *user) noexcept:
    cdef Session self = <Session>user
    self.told += 1
    if hd.type == NGHTTP2_HEADERS:
        self.continuations = 0
    elif hd.type == NGHTTP2_CONTINUATION:
        self.continuations += 1
        if self.continuations > CONTINUATIONS:
            return self.fail(NGHTTP2_ENHANCE_YOUR_CALM)
    elif brings_nothing(hd):
        self.empty_frames += 1
    if self.is_flooded():
        return self.fail(NGHTTP2_ENHANCE_YOUR_CALM)
    return 0


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session self = <Session>user
    cdef Stream stream
    try:
        if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
            self.section.begin(True, self.max_bytes, self.max_fields)
            return 0
        self.section.begin(False, self.max_bytes, self.max_fields)
        stream = self.make_stream(self.owner)
        stream.belong(self, frame.hd.stream_id)
        nghttp2_session_set_stream_user_data(session, stream.id, <void *>stream)
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_header(nghttp2_session *_, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                   const uint8_t *value, size_t value_size, uint8_t flags, void *user) noexcept:
    cdef Session self = <Session>user
    try:
        self.section.add(name, name_size, value, value_size)
        if self.section.taken > TOO_LARGE_FACTOR * self.max_bytes:
            return self.fail(NGHTTP2_ENHANCE_YOUR_CALM)
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session self = <Session>user
    cdef void *found
    if frame.hd.type == NGHTTP2_RST_STREAM:
        self.resets += 1
        return 0
    if frame.hd.type == NGHTTP2_DATA and frame.hd.length and frame.hd.length == frame.data.padlen and not (
        frame.hd.flags & NGHTTP2_FLAG_END_STREAM
    ):
        self.empty_frames += 1  # it is all padding
        return self.fail(NGHTTP2_ENHANCE_YOUR_CALM) if self.is_flooded() else 0
    if frame.hd.type != NGHTTP2_HEADERS and not (
        frame.hd.type == NGHTTP2_DATA and frame.hd.flags & NGHTTP2_FLAG_END_STREAM
    ):
        return 0
    found = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if found == NULL:
        return 0
    try:
        if frame.hd.type == NGHTTP2_DATA:
            (<Stream>found).ended = True
            (<Stream>found).receive_end(None)
        elif frame.headers.cat == NGHTTP2_HCAT_REQUEST:
            self.head_end(<Stream>found, frame.hd.flags & NGHTTP2_FLAG_END_STREAM)
        else:
            self.trailers_end(<Stream>found)
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t size,
                 void *user) noexcept:
    cdef Session self = <Session>user
    cdef void *found = nghttp2_session_get_stream_user_data(session, stream_id)
    try:
        # The connection's window never closes over what one reader leaves unread: each stream's own does.
        nghttp2_session_consume_connection(session, size)
        if found != NULL:
            (<Stream>found).receive(PyBytes_FromStringAndSize(<const char *>data, size))
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user) noexcept:
    cdef Session self = <Session>user
    cdef Stream stream
    try:
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.forget(stream, code)
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session self = <Session>user
    cdef void *found
    cdef uint32_t code
    if frame.hd.type == NGHTTP2_RST_STREAM:
        code = frame.rst_stream.error_code
        if code == NGHTTP2_REFUSED_STREAM:
            self.empty_frames += 1
        elif code not in (NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR):
            self.resets += 1  # whoever makes us reset streams has the same work done for nothing
    if frame.hd.type != NGHTTP2_DATA and frame.hd.type != NGHTTP2_HEADERS:
        return 0
    if self.empty_frames:
        self.empty_frames = max(0, self.empty_frames - 2)  # what answers it gets a client may acknowledge
    found = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if found != NULL:
        (<Stream>found).bytes_sent += frame.hd.length + 9
        (<Stream>found).moved = True
    if found != NULL and (<Stream>found).tunnelled:
        return 0
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM and nghttp2_session_get_stream_remote_close(
        session, frame.hd.stream_id
    ) == 0:
        # The answer is whole; what is left of the request nobody wants (RFC 9113 8.1).
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR)
    return 0


cdef ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *_, size_t size, uint32_t *flags,
                       nghttp2_data_source *source, void *user) noexcept:
    cdef Session self = <Session>user
    cdef Stream stream = <Stream>source.ptr
    try:
        if self.out.size >= BUDGET:
            return NGHTTP2_ERR_PAUSE
        if stream.at == stream.size and stream.lending is not None:
            stream.refill()
        return offer_data(
            session, stream_id, stream.size - stream.at, size, stream.last, stream.trailers, flags, &pairs)
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int send_data(nghttp2_session *_, nghttp2_frame *frame, const uint8_t *head, size_t size,
                   nghttp2_data_source *source, void *user) noexcept:
    cdef Session self = <Session>user
    cdef Stream stream = <Stream>source.ptr
    try:
        put_bytes(&self.out, head, FRAME_HEAD)
        put_bytes(&self.out, stream.data + stream.at, size)
        stream.at += size
        if stream.at == stream.size:
            stream.taken()
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int prepare() except -1:
    global callbacks, options
    if nghttp2_session_callbacks_new(&callbacks):
        raise MemoryError
    set_options(&options)
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send)
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    return 0


prepare()
