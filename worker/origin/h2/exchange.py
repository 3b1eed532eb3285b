"""One request to an origin on a stream of its own, beside others on the same HTTP/2 connection.

To a fetch it is what a whole connection is in HTTP/1.1: it asks, waits for one future, and knows whether what
went wrong can be tried again. Body and answer go their ways at the same time, whichever ends first.
"""

import asyncio
from asyncio import Future, Task
from time import monotonic_ns
from typing import Protocol

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import CONTENT_LENGTH, Fields
from worker.message import Response, Stream
from worker.origin.connection import INTERIM_MAX, WHOLE_BYTES
from worker.origin.h2.body import StreamBody
from worker.origin.h2.session import CANCEL, PROTOCOL_ERROR, REFUSED_STREAM, H2Stream, Session
from worker.origin.hop_by_hop import forwardable_trailers
from worker.origin.repeat import Repeatable
from worker.origin.response_head import REMOVED
from worker.origin.upload import send_body, wrong_length
from worker.reasons import Fault, Side
from worker.settings import OriginSettings

# RFC 9113 7, for the log.
_CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip


class Carrier(Protocol):
    """What an exchange needs of its connection."""

    settings: OriginSettings
    scheme: bytes
    session: "Session[Exchange]"
    loop: asyncio.AbstractEventLoop
    heard_ns: int  # when anything came

    def flush_soon(self) -> None:
        """Frames wait to be sent."""
        ...

    def leave(self, exchange: "Exchange") -> None:
        """The place of an exchange is free. It may never have asked."""
        ...

    def suspect(self) -> None:
        """Nothing has come since long before: ask no more of this connection."""
        ...


class Exchange(H2Stream):
    """At most one request, started by `ask`."""

    __slots__ = (
        "active_ns", "answer", "asked_ns", "body", "connection", "deadline_ns", "first_byte_ns", "informed",
        "interim", "is_stale", "over", "received", "request_body", "reused", "sent_ns", "to_head",
        "unanswered", "upload", "waiter",
    )  # fmt: skip

    def __init__(self, connection: Carrier, *, reused: bool) -> None:
        """`reused`: the connection was there before the request was."""
        self.connection = connection
        self.reused = reused
        self.is_stale = False  # lost with its connection, from which nothing came since it was asked
        self.over = False  # nobody waits for anything of it any more
        self.asked_ns = 0
        self.sent_ns = 0  # the request had left
        self.active_ns = 0  # something of it came or left
        self.first_byte_ns = 0  # from `sent_ns` to the first byte of the answer
        self.deadline_ns = 0  # of the whole, 0 for none
        self.to_head = False
        self.interim = 0
        self.received = 0  # bytes of the answer's body
        self.informed: Context | None = None  # whose client gets the interim answers
        self.answer: Future[Response] | None = None
        self.body: StreamBody | None = None
        self.unanswered: tuple[int, Fields] | None = None  # status and fields of a body awaited whole
        self.request_body: Stream | None = None
        self.upload: Task[None] | None = None
        self.waiter: Future[None] | None = None  # of the upload, until the last piece has left

    # the request

    def ask(
        self,
        head: bytes,
        body: Stream | None,
        *,
        to_head: bool,
        informed: Context | None,
        upgrade: bytes = b"",
        deadline_ns: int = 0,
    ) -> Future[Response]:
        """`Connection.ask`, but that nothing can be switched to here: `upgrade` is empty."""
        connection = self.connection
        answer: Future[Response] = connection.loop.create_future()
        self.to_head = to_head
        self.informed = informed
        self.deadline_ns = deadline_ns
        self.asked_ns = self.sent_ns = self.active_ns = monotonic_ns()
        if not self.submit(connection.session, head, connection.scheme, body is not None):
            self.over = True
            connection.leave(self)
            detail = "the connection ended before the request was sent"
            answer.set_exception(self._error(502, Fault.TERMINATED, detail, retryable=True))
            return answer
        self.answer = answer
        if body is not None:
            self.request_body = body
            self.upload = connection.loop.create_task(send_body(self, body))
        connection.flush_soon()
        return answer

    async def send_pieces(self, body: Stream) -> None:
        """Send all of the body. Raises EdgeError if that cannot be."""
        length = body.length
        sent = 0
        while length is None or sent < length:
            piece = await body.read()
            sent += len(piece)
            if not piece or (length is not None and sent > length):
                break
            while not self.offer(piece):
                await self._room()
            self.connection.flush_soon()
        if length is not None and sent != length:
            raise wrong_length(sent, length)
        trailers = body.trailers if length is None else None
        self.finish(None if trailers is None else forwardable_trailers(trailers))
        self.sent_ns = self.active_ns = monotonic_ns()
        self.connection.flush_soon()

    async def _room(self) -> None:
        """Until the last piece has left, or the exchange is over."""
        self.waiter = self.connection.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def drained(self) -> None:
        """The last piece has left."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    # the answer, as the session tells it

    def receive_interim(self, status: int, fields: Fields) -> None:
        """100 is of no interest, others are passed on (RFC 9110 15.2)."""
        self._note_byte()
        self.interim += 1
        if self.interim > INTERIM_MAX:
            self._break(f"more than {INTERIM_MAX} interim answers")
            return
        informed = self.informed
        if status != 100 and not self.over and informed is not None and informed.inform is not None:
            fields.remove(*REMOVED)
            informed.inform(informed, status, fields)

    def receive_head(self, status: int, fields: Fields, ended: bool) -> None:
        """Answer now, or when a small body is whole."""
        self._note_byte()
        if self.over:
            return
        if isinstance(self.request_body, Repeatable):
            self.request_body.forget()  # who answers has begun with it
        length = int(fields.get(b"content-length") or b"") if fields.mask & CONTENT_LENGTH else None
        fields.remove(*REMOVED)
        if ended or self.to_head or status == 304 or status == 204:
            bodiless = self.to_head or status == 304 or status == 204
            if not bodiless:
                length = 0
            self._give(status, fields, None if bodiless else b"", None if status == 204 else length)
            if ended:
                self._complete()
            return
        limit = self.connection.settings.response_bytes
        if length is not None and 0 < limit < length:
            self._fail_body_size(f"a body of {length} bytes is announced,")
            return
        body = self.body = StreamBody(self, length)
        if length is not None and length <= WHOLE_BYTES:
            self.unanswered = status, fields
        else:
            self._give(status, fields, body, length)

    def receive(self, data: bytes) -> None:
        self.active_ns = self.connection.heard_ns
        body = self.body
        if self.over or body is None:
            return
        self.received += len(data)
        limit = self.connection.settings.response_bytes
        if 0 < limit < self.received:
            self._fail_body_size("the body has")
        else:
            body.feed(data)

    def receive_end(self, trailers: Fields | None) -> None:
        body, head = self.body, self.unanswered
        if self.over:
            return
        if body is not None:
            kept = None if trailers is None else forwardable_trailers(trailers)
            body.end(kept if kept is not None and len(kept) else None)
            if head is not None:
                self.unanswered = None
                whole = body if body.trailers is not None else body.take_all()
                self._give(*head, whole, body.length)
        self._complete()

    def refuse(self, why: str | None, too_large: bool) -> None:
        if not too_large:
            self._break(why or "")
        elif not self.over:
            limit = self.connection.settings.header_bytes
            detail = f"a header section of more than {limit} bytes (`header`)"
            self.fail(self._error(502, Fault.RESPONSE_HEADER_SIZE, detail))

    def _note_byte(self) -> None:
        self.active_ns = now_ns = self.connection.heard_ns
        if not self.first_byte_ns:
            self.first_byte_ns = max(1, now_ns - self.sent_ns)

    def _break(self, why: str) -> None:
        """The answer breaks a rule."""
        self.fail(self._error(502, Fault.PROTOCOL, why), PROTOCOL_ERROR)

    def _fail_body_size(self, what: str) -> None:
        limit = self.connection.settings.response_bytes
        detail = f"{what} more than the {limit} it may have (`max_response`)"
        self.fail(self._error(502, Fault.RESPONSE_BODY_SIZE, detail))

    def _give(self, status: int, fields: Fields, body: bytes | StreamBody | None, length: int | None) -> None:
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_result(Response(status, fields, body, length))
        else:
            self.abandon()

    def _complete(self) -> None:
        """The answer has ended; what is left of the request nobody wants (RFC 9113 8.1)."""
        self.over = True
        if self.upload is not None or self.has_output:
            self._stop()
        else:
            self._release()

    # what the body calls

    def body_read(self, size: int) -> None:
        self.active_ns = monotonic_ns()
        if not self.ended:
            self.consumed(size)
            self.connection.flush_soon()

    # the end

    def settle(self) -> None:
        """The stream has ended."""
        if not self.over:
            self.fail(self._reset_error())
        self.connection.leave(self)

    def lost(self, how: str, fault: Fault) -> None:
        """The connection has ended."""
        self.is_stale = self.reused and self.connection.heard_ns < self.asked_ns
        if fault is Fault.TERMINATED and self.first_byte_ns:
            self.fail(self._error(502, Fault.INCOMPLETE, f"{how}, in the middle of the answer"))
        else:
            self.fail(self._error(502, fault, how))

    def fail(self, error: EdgeError, code: int = CANCEL) -> None:
        """End the exchange, and its stream with that code."""
        if self.over:
            return
        self.over = True
        self._stop(code)
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        elif self.body is not None:
            self.body.fail(error)

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        if not self.over:
            self.over = True
            self._stop()

    def give_up(self, answer: Future[Response]) -> None:
        """Whoever waited for `answer` was cancelled, maybe when it had just come."""
        if answer.cancelled():
            self.abandon()
        elif answer.exception() is None and isinstance(body := answer.result().body, StreamBody):
            body.close()

    def _stop(self, code: int = CANCEL) -> None:
        """Reset the stream."""
        self._release()
        self.reset(code)
        self.connection.flush_soon()

    def _release(self) -> None:
        """Read no more of the request's body."""
        body, self.request_body = self.request_body, None
        upload, self.upload = self.upload, None
        self.informed = None
        if upload is not None:
            upload.cancel()
            if body is not None:
                upload.add_done_callback(lambda _: body.close())
        elif body is not None:
            body.close()

    def overdue(self, now_ns: int) -> None:
        """Fail if the origin has kept us waiting too long. Called about once a second."""
        settings = self.connection.settings
        if self.moved:
            self.moved = False
            self.active_ns = now_ns
        silent_s = (now_ns - self.active_ns) * 1e-9
        if self.over:
            if not self.ended and silent_s > settings.idle_timeout_s:
                self._stop()
        elif 0 < self.deadline_ns < now_ns:
            detail = f"no complete answer within {settings.total_timeout_s:g} s (`total_timeout`)"
            self._time_out(Fault.RESPONSE_TIMEOUT, detail)
        elif self.answered:
            # While nobody reads it is the client who is slow, and the protocol's own timeouts watch it.
            waits = self.unanswered is not None or (self.body is not None and self.body.is_waited_for)
            if waits and silent_s > settings.idle_timeout_s:
                self._time_out(Fault.READ_TIMEOUT, f"no byte of the body for {settings.idle_timeout_s} s")
        elif self.has_output:
            if silent_s > settings.idle_timeout_s:
                detail = f"took no byte of the request body for {settings.idle_timeout_s} s"
                self._time_out(Fault.WRITE_TIMEOUT, detail)
        elif self.upload is None and (now_ns - self.sent_ns) * 1e-9 > settings.first_byte_timeout_s:
            self._time_out(Fault.RESPONSE_TIMEOUT, f"no answer within {settings.first_byte_timeout_s} s")

    def _time_out(self, fault: Fault, detail: str) -> None:
        if self.connection.heard_ns <= self.active_ns:
            self.connection.suspect()
        self.fail(self._error(504, fault, detail))

    def _reset_error(self) -> EdgeError:
        """Why the stream ended before its answer."""
        session = self.connection.session
        began = self.first_byte_ns != 0
        if self.reset_by_peer:
            code = code_name(self.code)
            if self.code == REFUSED_STREAM and not began:
                return self._error(503, Fault.UNAVAILABLE, f"refused the request ({code})", self._rewind())
            when = "in the middle of its answer" if began else "before its answer began"
            fault = Fault.INCOMPLETE if began else Fault.TERMINATED
            return self._error(502, fault, f"reset the stream {when} ({code})")
        if session.is_leaving and not began:  # a stream above the last that its GOAWAY names
            said = session.said or code_name(session.fault)
            detail = f"closes the connection (GOAWAY), and has not begun with the request: {said}"
            return self._error(502, Fault.TERMINATED, detail, self._rewind())
        return self._error(502, Fault.PROTOCOL, session.said or "the answer breaks the rules of HTTP/2")

    def _rewind(self) -> bool:
        """Can the request be sent once more? If so, its body is not closed."""
        body = self.request_body
        if body is None:
            return True
        if isinstance(body, Repeatable) and body.rewind():
            self.request_body = None
            return True
        return False

    def _error(self, status: int, fault: Fault, detail: str, retryable: bool = False) -> EdgeError:
        url = self.connection.settings.url
        return EdgeError(status, Side.ORIGIN, fault, f"{url}: {detail}", retryable=retryable)


def code_name(code: int) -> str:
    """An error code as RFC 9113 7 calls it."""
    return _CODES[code] if code < len(_CODES) else f"{code:#x}"
