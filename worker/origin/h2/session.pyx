# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""One connection's HTTP/2 framing (RFC 9113) towards an origin, by libnghttp2: requests out, answers in.

`Session` is the connection, `H2Stream` what one exchange is derived from. Knows no transport, clock or pool. A
request's head comes as the lines of HTTP/1.1 that every origin is asked with, and becomes pairs here. Two readers
judge every header section of an answer, libnghttp2 and the validator of `worker.fields`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memchr

from worker.fields cimport Fields, Section
from worker.nghttp2 cimport *

cdef enum:
    CONTINUATIONS = 16  # frames of one header section behind its first
    WINDOW = 64 * 1024 * 1024  # of the connection, so that only the streams' own windows hold an origin back
    TOO_LARGE_FACTOR = 8  # a header section so many times the limit is an attack, and ends the connection
    EMPTY_FRAMES = 2000  # between two calls of `forgive`, that bring no exchange further
    SAID_BYTES = 200  # of what the origin says with a GOAWAY
    BEHIND_TARGET = 17  # " HTTP/1.1\r\nHost: "

NO_ERROR = NGHTTP2_NO_ERROR
PROTOCOL_ERROR = NGHTTP2_PROTOCOL_ERROR
REFUSED_STREAM = NGHTTP2_REFUSED_STREAM
CANCEL = NGHTTP2_CANCEL

# The fields of one message on their way into libnghttp2, which copies them. Under the GIL, never across a call.
cdef Pairs pairs

cdef nghttp2_session_callbacks *callbacks = NULL
cdef nghttp2_option *options = NULL


cdef class Session:
    """One connection, as its client."""

    def __init__(self, *, size_t header_bytes, int header_count, uint32_t window):
        """`window`: how much of an answer may come that nobody has read."""
        cdef nghttp2_settings_entry settings[3]
        self.section = Section()
        self.streams = {}
        self.closed = []
        self.drained = []
        self.fed = []  # streams with pieces
        self.max_bytes = header_bytes
        self.max_fields = header_count
        self.has_news = True
        self.streams_max = 100  # until the origin says, as RFC 9113 6.5.2 recommends
        if nghttp2_session_client_new2(&self.session, callbacks, <void *>self, options):
            raise MemoryError
        settings[0].settings_id = NGHTTP2_SETTINGS_ENABLE_PUSH
        settings[0].value = 0
        settings[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        settings[1].value = window
        settings[2].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        settings[2].value = <uint32_t>header_bytes
        begin(self.session, settings, 3, WINDOW)

    def __dealloc__(self):
        nghttp2_session_del(self.session)

    cpdef int receive(self, bytes data) except -1:
        """Tell the streams what `data` says. Sets `failed` if it is not HTTP/2 any more; `said` has the reason."""
        cdef ssize_t read
        if self.failed or self.session == NULL:
            return 0
        read = nghttp2_session_mem_recv(
            self.session, <const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        if self.fed:
            fed, self.fed = self.fed, []
            for stream in fed:
                self.deliver(stream)
        if read < 0:
            self.failed = True
            if self.fault == NGHTTP2_NO_ERROR:
                self.fault = NGHTTP2_PROTOCOL_ERROR if self.error is None else NGHTTP2_INTERNAL_ERROR
            nghttp2_session_terminate_session(self.session, self.fault)
            if self.error is not None:
                error, self.error = self.error, None
                raise error
        return 0

    cpdef bytes take(self):
        """What is to be sent, about 64 KiB at most; b"" when nothing is, or may be."""
        cdef bytes taken
        if self.session == NULL or not nghttp2_session_want_write(self.session):
            return b""
        taken = take_frames(self.session, &self.out, &self.failed)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return taken

    cpdef list take_closed(self):
        """The streams that have ended since the last call, either way."""
        cdef list closed = self.closed
        if closed:
            self.closed = []
        return closed

    cpdef list take_drained(self):
        """The streams that have room again for a piece they refused."""
        cdef list drained = self.drained
        if drained:
            self.drained = []
        return drained

    @property
    def may_ask(self):
        """May one more stream be opened? Not after a GOAWAY, nor when all ids are used up."""
        return (self.session != NULL and not self.failed and not self.is_leaving
                and nghttp2_session_check_request_allowed(self.session) != 0)

    @property
    def is_over(self):
        """All is said: the connection may be closed."""
        return has_nothing_to_say(self.session)

    def ping(self):
        """Ask for a sign of life (RFC 9113 6.7)."""
        if self.session != NULL:
            nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, NULL)

    def forgive(self):
        """A second has passed: empty frames are counted anew."""
        self.empty_frames = 0

    def terminate(self):
        """Say GOAWAY; nothing else follows it."""
        self.failed = True
        if self.session != NULL:
            nghttp2_session_terminate_session(self.session, NGHTTP2_NO_ERROR)

    def close(self):
        """The connection is gone. The streams that were open, which will hear no more of it."""
        left = list(self.streams.values())
        self.streams.clear()
        self.closed = []
        self.drained = []
        for stream in left:
            (<H2Stream>stream).closed = True
        nghttp2_session_del(self.session)
        self.session = NULL
        return left

    cdef int deliver(self, H2Stream stream) except -1:
        """Hand over what has come of a body, in one piece: a server's frames may be small."""
        cdef list pieces = stream.pieces
        if pieces is not None:
            stream.pieces = None
            stream.receive(<bytes>pieces[0] if len(pieces) == 1 else b"".join(pieces))
        return 0

    cdef int fail(self, uint32_t fault) noexcept:
        """End the connection from within a callback."""
        self.fault = fault
        return NGHTTP2_ERR_CALLBACK_FAILURE

    cdef int head_end(self, H2Stream stream, bint ended) except -1:
        cdef Section section = self.section
        cdef str why = section.why()
        if why is not None or section.too_large:
            stream.refuse(why, section.too_large)
        elif section.status < 200:
            stream.receive_interim(section.status, section.fields())
        else:
            stream.answered = True
            stream.ended = ended
            stream.receive_head(section.status, section.fields(), ended)
        return 0

    cdef int trailers_end(self, H2Stream stream) except -1:
        cdef Section section = self.section
        cdef str why = section.why()
        if why is not None or section.too_large:
            stream.refuse(why, section.too_large)
        else:
            stream.ended = True
            stream.receive_end(section.fields())
        return 0


cdef class H2Stream:
    """One request and its answer. A subclass takes what comes.

    At most one piece of the request's body is here at a time. `moved` is set whenever some of it leaves.
    """

    def receive_interim(self, status, fields):
        """An interim answer."""
        raise NotImplementedError

    def receive_head(self, status, fields, ended):
        """The head of the answer. `ended`: there is no body."""
        raise NotImplementedError

    cpdef object receive(self, bytes data):
        """Some of the answer's body."""
        raise NotImplementedError

    cpdef object receive_end(self, Fields trailers):
        """All of it has come, with these trailers or None."""
        raise NotImplementedError

    def refuse(self, why, too_large):
        """A header or trailer section breaks a rule, or is `too_large`."""
        raise NotImplementedError

    @property
    def has_output(self):
        """Bytes of the request wait for the origin's window, or the connection's."""
        return not self.closed and self.at < self.size

    cpdef bint submit(self, Session session, bytes head, bytes scheme, bint more) except -1:
        """Begin the request whose HTTP/1.1 head this is: request line, Host, fields, empty line.

        `more`: a body comes by `offer` and `finish`. False if the connection takes no more requests.
        """
        cdef const char *p = PyBytes_AS_STRING(head)
        cdef const char *end = p + PyBytes_GET_SIZE(head)
        cdef const char *target
        cdef const char *target_end
        cdef const char *host
        cdef const char *host_end
        cdef nghttp2_data_provider provider
        cdef bint dated = False
        cdef size_t count
        if session.session == NULL or session.failed:
            return False
        target = <const char *>memchr(p, c" ", end - p) + 1
        target_end = <const char *>memchr(target, c" ", end - target)
        host = target_end + BEHIND_TARGET
        host_end = <const char *>memchr(host, c"\r", end - host)
        set_pair(&pairs, 0, b":method", 7, p, target - p - 1, NGHTTP2_NV_FLAG_NONE)
        set_pair(&pairs, 1, b":scheme", 7, PyBytes_AS_STRING(scheme), PyBytes_GET_SIZE(scheme), NGHTTP2_NV_FLAG_NONE)
        set_pair(&pairs, 2, b":authority", 10, host, host_end - host, NGHTTP2_NV_FLAG_NONE)
        set_pair(&pairs, 3, b":path", 5, target, target_end - target, NGHTTP2_NV_FLAG_NONE)
        count = set_pairs(&pairs, 4, head, host_end - p + 2, &dated)
        provider.source.ptr = <void *>self
        provider.read_callback = read_body
        self.session = session
        self.id = nghttp2_submit_request(
            session.session, NULL, pairs.data, count, &provider if more else NULL, <void *>self)
        if self.id < 0:
            return False
        session.streams[self.id] = self
        session.out.queued += PyBytes_GET_SIZE(head) + 64
        return True

    cpdef bint offer(self, bytes piece) except -1:
        """The next piece of the body; False if the one before is still here (then `take_drained` will tell)."""
        if self.closed:
            return True
        if self.at < self.size:
            self.waiting = True
            return False
        self.piece = piece
        self.at = 0
        self.size = PyBytes_GET_SIZE(piece)
        self.session.out.queued += self.size + 32
        nghttp2_session_resume_data(self.session.session, self.id)
        return True

    cpdef int finish(self, Fields trailers) except -1:
        """The body offered ends behind the last piece, with these trailers or None."""
        if not self.closed:
            self.last = True
            self.trailers = trailers
            nghttp2_session_resume_data(self.session.session, self.id)
        return 0

    cpdef int reset(self, uint32_t code) except -1:
        """End the stream at once (RST_STREAM)."""
        if not self.closed and self.session is not None:
            nghttp2_submit_rst_stream(self.session.session, NGHTTP2_FLAG_NONE, self.id, code)
        return 0

    cpdef int consumed(self, Py_ssize_t size) except -1:
        """So much of the body has been read, and the origin may send as much again."""
        if not self.closed:
            nghttp2_session_consume_stream(self.session.session, self.id, size)
        return 0


# libnghttp2's callbacks. Exceptions are kept for `receive` or `take` to raise.

cdef int on_begin_frame(nghttp2_session *_, const nghttp2_frame_hd *hd, void *user) noexcept:
    cdef Session self = <Session>user
    if hd.type == NGHTTP2_HEADERS:
        self.continuations = 0
    elif hd.type == NGHTTP2_CONTINUATION:
        self.continuations += 1
        if self.continuations > CONTINUATIONS:
            self.said = "a header section in too many CONTINUATION frames"
            return self.fail(NGHTTP2_ENHANCE_YOUR_CALM)
    elif brings_nothing(hd):
        self.empty_frames += 1
        if self.empty_frames > EMPTY_FRAMES:
            self.said = "too many frames with neither an answer nor data"
            return self.fail(NGHTTP2_ENHANCE_YOUR_CALM)
    return 0


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session self = <Session>user
    cdef void *found = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if found != NULL and (<H2Stream>found).answered:
        self.section.begin(True, self.max_bytes, self.max_fields)
    else:
        self.section.begin_answer(self.max_bytes, self.max_fields)
    return 0


cdef int on_header(nghttp2_session *_, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                   const uint8_t *value, size_t value_size, uint8_t flags, void *user) noexcept:
    cdef Session self = <Session>user
    try:
        self.section.add(name, name_size, value, value_size)
        if self.section.taken > TOO_LARGE_FACTOR * self.max_bytes:
            self.said = "a header section many times larger than allowed"
            return self.fail(NGHTTP2_ENHANCE_YOUR_CALM)
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_invalid_header(nghttp2_session *_, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                           const uint8_t *value, size_t value_size, uint8_t flags, void *user) noexcept:
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE  # without this libnghttp2 would only leave the field out


cdef int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session self = <Session>user
    cdef void *found
    try:
        if frame.hd.type == NGHTTP2_SETTINGS:
            if not frame.hd.flags & NGHTTP2_FLAG_ACK:
                self.agreed = True
                self.streams_max = nghttp2_session_get_remote_settings(
                    session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
            return 0
        if frame.hd.type == NGHTTP2_GOAWAY:
            self.is_leaving = True
            self.fault = frame.goaway.error_code
            self.said = goaway_words(frame)
            return 0
        if frame.hd.type == NGHTTP2_DATA or frame.hd.type == NGHTTP2_HEADERS:
            self.has_news = True
        found = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
        if found == NULL:
            return 0
        if frame.hd.type == NGHTTP2_RST_STREAM:
            (<H2Stream>found).reset_by_peer = True
        elif frame.hd.type == NGHTTP2_HEADERS:
            if (<H2Stream>found).answered:
                self.deliver(<H2Stream>found)
                self.trailers_end(<H2Stream>found)
            else:
                self.head_end(<H2Stream>found, frame.hd.flags & NGHTTP2_FLAG_END_STREAM)
        elif frame.hd.type == NGHTTP2_DATA and frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            self.deliver(<H2Stream>found)
            (<H2Stream>found).ended = True
            (<H2Stream>found).receive_end(None)
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef str goaway_words(const nghttp2_frame *frame):
    """What a GOAWAY says for itself, as far as that can be printed."""
    cdef Py_ssize_t size = min(<Py_ssize_t>frame.goaway.opaque_data_len, <Py_ssize_t>SAID_BYTES)
    cdef bytes data = PyBytes_FromStringAndSize(<const char *>frame.goaway.opaque_data, size)
    return "".join(char if char.isprintable() else "?" for char in data.decode("ascii", "replace"))


cdef int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t size,
                 void *user) noexcept:
    cdef Session self = <Session>user
    cdef void *found = nghttp2_session_get_stream_user_data(session, stream_id)
    cdef H2Stream stream
    try:
        # The connection's window never closes over what one reader leaves unread: each stream's own does.
        nghttp2_session_consume_connection(session, size)
        if found != NULL:
            stream = <H2Stream>found
            if stream.pieces is None:
                stream.pieces = []
                self.fed.append(stream)
            stream.pieces.append(PyBytes_FromStringAndSize(<const char *>data, size))
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user) noexcept:
    cdef Session self = <Session>user
    cdef H2Stream stream
    try:
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self.deliver(stream)
            stream.closed = True
            stream.code = code
            stream.piece = None
            stream.size = stream.at = 0
            self.closed.append(stream)
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session self = <Session>user
    cdef void *found
    if frame.hd.type == NGHTTP2_GOAWAY and not self.is_leaving:
        self.fault = frame.goaway.error_code
    if frame.hd.type != NGHTTP2_DATA and frame.hd.type != NGHTTP2_HEADERS:
        return 0
    if self.empty_frames:
        self.empty_frames = max(0, self.empty_frames - 2)  # a WINDOW_UPDATE of stream and connection is due
    found = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if found != NULL:
        (<H2Stream>found).moved = True
    return 0


cdef ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *_, size_t size, uint32_t *flags,
                       nghttp2_data_source *source, void *user) noexcept:
    cdef Session self = <Session>user
    cdef H2Stream stream = <H2Stream>source.ptr
    try:
        if self.out.size >= BUDGET:
            return NGHTTP2_ERR_PAUSE
        return offer_data(
            session, stream_id, stream.size - stream.at, size, stream.last, stream.trailers, flags, &pairs)
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int send_data(nghttp2_session *_, nghttp2_frame *frame, const uint8_t *head, size_t size,
                   nghttp2_data_source *source, void *user) noexcept:
    cdef Session self = <Session>user
    cdef H2Stream stream = <H2Stream>source.ptr
    try:
        put_bytes(&self.out, head, FRAME_HEAD)
        if size:
            put_bytes(&self.out, PyBytes_AS_STRING(stream.piece) + stream.at, size)
        stream.at += size
        if stream.at == stream.size:
            stream.piece = None
            stream.size = stream.at = 0
            if stream.waiting:
                stream.waiting = False
                self.drained.append(stream)
        return 0
    except BaseException as error:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_error(nghttp2_session *_, int code, const char *words, size_t size, void *user) noexcept:
    cdef Session self = <Session>user
    try:
        self.said = words[:size].decode("latin-1")
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
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send)
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    nghttp2_session_callbacks_set_error_callback2(callbacks, on_error)
    return 0


prepare()
