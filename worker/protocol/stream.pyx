# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""One request and its answer on a stream of a connection that carries many (HTTP/2, HTTP/3), whatever its frames.

`Stream` holds what the request says and what waits to go out; `Framing` is what it asks of its connection, which
spells it in frames. Knows neither frame nor pipeline.
"""

from typing import TypeVar

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr

from worker.fields cimport Fields, Section

# Why a stream is reset, in the codes of HTTP/2 (RFC 9113 7); other framings put their own in place of them.
NO_ERROR = 0
PROTOCOL_ERROR = 1
INTERNAL_ERROR = 2
CANCEL = 8


cdef class Framing:
    """One connection's frames, as its streams see them."""

    def __cinit__(self):
        self.streams = {}
        self.closed = []
        self.drained = []

    @classmethod
    def __class_getitem__(cls, item):
        """`Framing[Stream]` is for type checkers."""
        return cls

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

    cpdef int forget(self, Stream stream, unsigned long long code) except -1:
        """The stream has ended: by `code`, 0 if all of it went well."""
        if self.streams.pop(stream.id, None) is not None:
            stream.closed = True
            stream.code = code
            stream.piece = stream.lending = None
            stream.size = stream.at = 0
            self.closed.append(stream)
        return 0

    cpdef list give_up(self, unsigned long long code):
        """The connection is gone. The streams that were open, which will hear no more of it."""
        cdef list left = list(self.streams.values())
        cdef Stream stream
        self.streams.clear()
        self.closed = []
        self.drained = []
        for stream in left:
            stream.closed = True
            stream.code = code
        return left

    def give_notice(self):
        """Tell the client to open no more streams, but take those that are on their way."""
        raise NotImplementedError

    def go_away(self):
        """Take no more streams; those there are come to their end."""
        raise NotImplementedError

    cpdef int answer(self, Stream stream, int status, Fields fields, bytes date_line, Py_ssize_t length) except -1:
        """Send the head of an answer, see `Stream.respond`; what the stream holds of its body follows."""
        raise NotImplementedError

    cpdef int interim(self, Stream stream, int status, Fields fields) except -1:
        raise NotImplementedError

    cpdef int resume(self, Stream stream) except -1:
        """The stream holds more of its body, or knows now that none follows."""
        raise NotImplementedError

    cpdef int reset(self, Stream stream, int code) except -1:
        """End the stream at once. `code`: one of those above."""
        raise NotImplementedError

    cpdef int consumed(self, Stream stream, Py_ssize_t size) except -1:
        raise NotImplementedError

    cpdef int widen(self, Stream stream, Py_ssize_t size) except -1:
        raise NotImplementedError

    cpdef bint has_ended(self, Stream stream) except -1:
        """Has our side of the stream ended?"""
        raise NotImplementedError


cdef class Stream:
    """One request and its answer. The framing fills in the request; a subclass takes its body and answers.

    At most one piece of a body is here at a time. `moved` is set whenever some of it leaves.
    """

    cpdef object receive(self, bytes data):
        """Some of the request's body has come."""
        raise NotImplementedError

    cpdef object receive_end(self, Fields trailers):
        """All of it has, with these trailers or None."""
        raise NotImplementedError

    # The framing's side.

    cpdef int belong(self, Framing framing, long long id) except -1:
        """It is that stream of that connection."""
        self.framing = framing
        self.id = id
        framing.streams[id] = self
        return 0

    cpdef int read_head(self, Section section) except -1:
        """The head is complete and breaks no rule."""
        cdef const char *question
        cdef bytes path = section.path
        self.method = section.method if section.method is not None else b""
        self.scheme = section.scheme
        self.authority = section.authority
        self.host = section.host
        self.protocol = section.protocol
        self.target = path if path is not None else b""
        self.path = self.target
        if path is not None:
            question = <const char *>memchr(PyBytes_AS_STRING(path), c"?", PyBytes_GET_SIZE(path))
            if question != NULL:
                self.path = path[: question - PyBytes_AS_STRING(path)]
                self.query = path[question - PyBytes_AS_STRING(path) + 1 :]
        self.too_large = section.too_large
        self.fields = section.fields()
        return 0

    @property
    def left(self):
        """Bytes of the body at hand that have not been taken."""
        return self.size - self.at + (self.lending.left if self.lending is not None else 0)

    cpdef bytes take(self, Py_ssize_t limit):
        """The next bytes of the body, at most `limit`; b"" when none are at hand. Copies them, unless they are all."""
        cdef Py_ssize_t size
        cdef bytes taken
        if self.at == self.size and self.lending is not None:
            self.refill()
        size = min(limit, self.size - self.at)
        if size <= 0:
            return b""
        if size == self.size and type(self.piece) is bytes:
            taken = self.piece
        else:
            taken = PyBytes_FromStringAndSize(self.data + self.at, size)
        self.at += size
        if self.at == self.size:
            self.taken()
        return taken

    cdef int taken(self) except -1:
        """The piece at hand has left."""
        self.piece = None
        self.size = self.at = 0
        if self.waiting:
            self.waiting = False
            self.framing.drained.append(self)
        return 0

    cdef int refill(self) except -1:
        """Get the next slice of a lent body, if there is one."""
        cdef const unsigned char[::1] view
        piece = self.lending.take()
        if piece is None:
            self.lending = None
            self.last = True
            return 0
        view = piece
        self.piece = piece
        self.data = <const char *>&view[0]
        self.at = 0
        self.size = view.shape[0]
        if not self.lending.left:
            self.lending = None
            self.last = True
        return 0

    # The exchange's side.

    @property
    def has_output(self):
        """Bytes of the answer wait for the client's window, or the connection's."""
        return not self.closed and (self.at < self.size or self.lending is not None or self.last)

    cpdef int respond(self, int status, Fields fields, bytes date_line, Py_ssize_t length, object body, bint more) except -1:
        """Begin the answer: `date_line` unless the fields have a Date, Content-Length unless `length` is negative.

        `body`: all of it as bytes, or a `lending.Lending`, or None. `more`: it comes by `offer` and `finish`.
        """
        if self.closed:
            return 0
        self.moved = True
        if type(body) is bytes:
            self.piece = body
            self.data = PyBytes_AS_STRING(body)
            self.at = 0
            self.size = PyBytes_GET_SIZE(body)
            self.last = not more
        elif body is not None:
            self.lending = body
        else:
            self.last = not more
        return self.framing.answer(self, status, fields, date_line, length)

    cpdef int interim(self, int status, Fields fields) except -1:
        """An interim answer."""
        return 0 if self.closed else self.framing.interim(self, status, fields)

    cpdef int switch(self, Fields fields, bytes date_line) except -1:
        """Answer an extended CONNECT by 200 (RFC 8441 5): until `leave`, either side may end its own direction."""
        self.tunnelled = True
        return self.respond(200, fields, date_line, -1, None, True)

    cpdef int leave(self) except -1:
        """End a tunnel behind the last piece, both directions of it."""
        self.tunnelled = False
        if self.closed:
            return 0
        if self.framing.has_ended(self):
            return self.reset(NO_ERROR)
        return self.finish(None)

    cpdef bint has_left(self) except -1:
        """Has the last piece? If not, `take_drained` will tell."""
        if self.at < self.size:
            self.waiting = True
            return False
        return True

    cpdef bint offer(self, bytes piece) except -1:
        """The next piece of the body; False if the one before is still here (then `take_drained` will tell)."""
        if self.closed:
            return True
        if not self.has_left():
            return False
        self.piece = piece
        self.data = PyBytes_AS_STRING(piece)
        self.at = 0
        self.size = PyBytes_GET_SIZE(piece)
        self.moved = True
        self.framing.resume(self)
        return True

    cpdef int finish(self, Fields trailers) except -1:
        """The body offered ends behind the last piece, with these trailers or None."""
        if not self.closed:
            self.last = True
            self.trailers = trailers
            self.framing.resume(self)
        return 0

    cpdef int reset(self, int code) except -1:
        """End the stream at once, by one of the codes above."""
        return 0 if self.closed else self.framing.reset(self, code)

    cpdef int consumed(self, Py_ssize_t size) except -1:
        """So much of the body has been read, and the client may send as much again."""
        return 0 if self.closed else self.framing.consumed(self, size)

    def widen(self, Py_ssize_t size):
        """Let the client have up to `size` bytes of the body on the way."""
        if not self.closed:
            self.framing.widen(self, size)


Made = TypeVar("Made", bound=Stream)  # what a framing makes for a request
