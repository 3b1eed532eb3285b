"""One connection to an origin: a request out, an answer in, then the next.

Everything happens in the protocol's callbacks; a fetch waits on one future per request. The connection
never decides about retries, it only tells what it knows: `is_stale`.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from enum import Enum, auto
from time import monotonic_ns
from typing import Protocol, cast

from worker.context import Context
from worker.errors import EdgeError
from worker.message import Response, Stream
from worker.origin.body import Body, BodyError, TooLargeError
from worker.origin.hop_by_hop import forwardable_trailers
from worker.origin.response_head import UNTIL_CLOSE, Head, HeadError, is_hopeless, read_head
from worker.origin.tunnel import OriginEnd
from worker.origin.upload import send_body, wrong_length
from worker.reasons import Fault, Side
from worker.settings import OriginSettings
from worker.upgrade import is_among

# An answer announced to be at most this large is awaited whole: the cache and the sender then get plain
# bytes, and a body that breaks off becomes a clean 502 instead of a cut 200.
WHOLE_BYTES = 64 * 1024

# Interim answers before the final one. More than this is an origin that never comes to the point.
INTERIM_MAX = 32

TURN_BYTES = 1024 * 1024  # of an upload, before other connections get their turn


class State(Enum):
    """Where the connection is in its exchange."""

    IDLE = auto()  # nothing asked; any byte now is unsolicited
    HEAD = auto()  # request sent or being sent, head of the answer awaited
    BODY = auto()
    TUNNEL = auto()  # switched to another protocol: never HTTP again
    CLOSED = auto()


# Looking a member up in its enum takes longer than most of what is done per state.
_IDLE, _HEAD, _BODY, _TUNNEL, _CLOSED = State


class Keeper(Protocol):
    """The pool, as a connection sees it."""

    settings: OriginSettings

    def give_back(self, connection: Connection) -> None:
        """The exchange is over and the connection may carry another."""
        ...

    def forget(self, connection: Connection) -> None:
        """The socket is gone."""
        ...


class Connection:
    """asyncio.Protocol of one socket. At most one exchange at a time, started by `ask`."""

    __slots__ = (
        "active_ns", "address", "answer", "body", "body_limit", "deadline_ns", "drained", "first_byte_ns",
        "held", "idle_limit_ns", "informed", "interim", "is_stale", "keep", "keeper", "loop", "over_tls",
        "paused", "retired", "reused", "sent_ns", "state", "to_head", "transport", "tunnel", "unanswered",
        "upgrade", "upload",
    )  # fmt: skip

    def __init__(self, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        self.keeper = keeper
        self.loop = loop
        self.transport = cast(asyncio.Transport, None)  # until connected
        self.address: str | None = None  # numeric, of the other end; None until connected
        self.state = _CLOSED  # until connected
        self.retired = False  # not to be used again
        self.reused = False
        self.is_stale = False  # reused, and lost before any byte of an answer
        self.keep = True
        self.over_tls = False
        self.paused = False
        self.idle_limit_ns = 0  # how long the origin said it keeps an idle connection, 0 when it did not
        self.active_ns = 0  # last byte in or out; since when it is idle
        self.sent_ns = 0  # the request had left
        self.first_byte_ns = 0  # from there to the first byte of the answer
        self.deadline_ns = 0  # of the exchange, 0 for none
        self.body_limit = keeper.settings.response_bytes
        self.to_head = False
        self.interim = 0
        self.held: bytearray | None = None  # a head that has not ended yet
        self.answer: Future[Response] | None = None
        self.body: Body | None = None
        self.unanswered: Head | None = None  # its body is still awaited whole
        self.informed: Context | None = None  # whose client gets the interim answers
        self.upgrade = b""  # the protocols that the origin may switch to
        self.tunnel: OriginEnd | None = None
        self.upload: Task[None] | None = None
        self.drained: Future[None] | None = None  # set while the transport's write buffer is full

    # one exchange

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
        """Send a request; the future is its final answer, or the EdgeError why there is none.

        That answer is a 101 with a TunnelEnd where the origin switches to one of the protocols in `upgrade`,
        which are those that `head` offers. Interim answers go to the client of `informed`. The answer must be
        complete by `deadline_ns`; 0 for any time.
        """
        answer: Future[Response] = self.loop.create_future()
        self.answer = answer
        self.state = _HEAD
        self.to_head = to_head
        self.informed = informed
        self.upgrade = upgrade
        self.deadline_ns = deadline_ns
        self.interim = 0
        self.first_byte_ns = 0
        self.sent_ns = self.active_ns = monotonic_ns()
        self.transport.write(head)
        if body is not None:
            self.upload = self.loop.create_task(send_body(self, body))
            self.upload.add_done_callback(lambda _: body.close())  # also of a task that never began
        return answer

    async def send_pieces(self, body: Stream) -> None:
        """Send all of the body. Raises EdgeError if that cannot be."""
        length = body.length
        sent = turn = 0
        while length is None or sent < length:
            piece = await body.read()
            sent += len(piece)
            if sent - turn >= TURN_BYTES:  # neither end may ever make us wait: hear an early answer
                turn = sent
                await asyncio.sleep(0)
            if not piece:
                break
            if length is None:
                self.transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
            elif sent <= length:
                self.transport.write(piece)
            else:
                break
            self.active_ns = monotonic_ns()
            if self.drained is not None:
                await self.drained
        if length is None:
            trailers = b"" if body.trailers is None else forwardable_trailers(body.trailers).encode()
            self.transport.write(b"0\r\n%b\r\n" % trailers)
        elif sent != length:
            raise wrong_length(sent, length)
        self.sent_ns = self.active_ns = monotonic_ns()

    def fail(self, error: EdgeError) -> None:
        """End the exchange and the connection."""
        state, self.state = self.state, _CLOSED
        if state is _CLOSED:
            return
        self._cut()
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        elif self.body is not None:
            self.body.fail(error)

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        if self.state is not _CLOSED:
            self.state = _CLOSED
            self._cut()

    def close(self) -> None:
        """Close an idle connection in order."""
        self.state = _CLOSED
        self.transport.close()

    def overdue(self, now_ns: int) -> None:
        """Fail the exchange if the origin has kept it waiting too long. Called about once a second."""
        settings = self.keeper.settings
        silent_ns = now_ns - self.active_ns
        if 0 < self.deadline_ns < now_ns and self.state in (_HEAD, _BODY):
            detail = f"no complete answer within {settings.total_timeout_s:g} s (`total_timeout`)"
            self.fail(self._error(504, Fault.RESPONSE_TIMEOUT, detail))
        elif self.state is _BODY:
            # While paused it is the client who is slow, and the protocol's own timeouts watch it.
            if not self.paused and silent_ns > settings.idle_timeout_s * 1e9:
                detail = f"no byte of the body for {settings.idle_timeout_s} s"
                self.fail(self._error(504, Fault.READ_TIMEOUT, detail))
        elif self.state is _HEAD:
            if self.upload is not None:
                if self.drained is not None and silent_ns > settings.idle_timeout_s * 1e9:
                    detail = f"took no byte of the request body for {settings.idle_timeout_s} s"
                    self.fail(self._error(504, Fault.WRITE_TIMEOUT, detail))
            elif now_ns - self.sent_ns > settings.first_byte_timeout_s * 1e9:
                detail = f"no answer within {settings.first_byte_timeout_s} s"
                self.fail(self._error(504, Fault.RESPONSE_TIMEOUT, detail))
        elif self.tunnel is not None:
            self.tunnel.overdue(now_ns)

    # what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's
        self.over_tls = transport.get_extra_info("sslcontext") is not None
        self.state = _IDLE
        self.active_ns = monotonic_ns()

    def data_received(self, data: bytes) -> None:
        self.active_ns = monotonic_ns()
        if self.state is _HEAD:
            if not self.first_byte_ns:
                self.first_byte_ns = self.active_ns - self.sent_ns
            try:
                self._take_head(data)
            except HeadError as error:
                self.fail(self._error(502, Fault.PROTOCOL, str(error)))
        elif self.state is _BODY:
            self._take_body(data)
        elif self.state is _IDLE:
            # Unsolicited: taken for the answer to the next request, it would answer the wrong one.
            self.abandon()

    def eof_received(self) -> bool:
        body = self.body
        if self.state is _BODY and body is not None and body.left == UNTIL_CLOSE:
            body.finish()
            self._end_body(body)
        else:
            self._lost("closed the connection")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._lost("lost the connection" if error is None else f"lost the connection: {error}")
        self.state = _CLOSED
        self.keeper.forget(self)

    def pause_writing(self) -> None:
        if self.drained is None:
            self.drained = self.loop.create_future()

    def resume_writing(self) -> None:
        drained, self.drained = self.drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # what the body calls

    def pause(self) -> None:
        if not self.paused and self.state is _BODY:
            self.paused = True
            if self.over_tls:
                # Not while the transport is delivering: aiofastnet (1.2.0) would keep records it has taken
                # from the socket, and after the resume hand them over only when more arrives, maybe never.
                # It reads at most 256 KiB in one turn, whereas a plain transport would go on for MiB.
                self.loop.call_soon(self._pause_reading)
            else:
                self.transport.pause_reading()

    def _pause_reading(self) -> None:
        if self.paused and self.state is _BODY:
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.paused and self.state is not _CLOSED:
            self.paused = False
            self.active_ns = monotonic_ns()
            self.transport.resume_reading()

    # the answer

    def _take_head(self, data: bytes) -> None:
        """Collect the head and act on it. Raises HeadError."""
        held = self.held
        if held is None:
            end = data.find(b"\r\n\r\n") + 4
        else:
            seen = max(0, len(held) - 3)
            held += data
            end = held.find(b"\r\n\r\n", seen) + 4
        if end < 4:
            self._hold(bytearray(data) if held is None else held)
            return
        if end > self.keeper.settings.header_bytes:
            self._fail_too_large()
            return
        if held is not None:
            data = bytes(held)
            self.held = None
        head = read_head(data[:end], to_head=self.to_head)
        if head.status >= 200:
            self._begin_body(head, data[end:])
        elif head.status == 101 and self.upgrade:
            self._switch(head, data[end:])
        else:
            self._take_interim(head)
            if len(data) > end:
                self._take_head(data[end:])

    def _hold(self, held: bytearray) -> None:
        """The head has not ended yet: wait for more, unless no end could save it."""
        if is_hopeless(held):
            raise HeadError("not the start of an HTTP/1.1 answer")
        if len(held) > self.keeper.settings.header_bytes:
            self._fail_too_large()
        self.held = held

    def _fail_too_large(self) -> None:
        detail = f"the head is larger than {self.keeper.settings.header_bytes} bytes (`header_bytes`)"
        self.fail(self._error(502, Fault.RESPONSE_HEADER_SIZE, detail))

    def _take_interim(self, head: Head) -> None:
        """100 is of no interest, 101 was not asked for, others are passed on (RFC 9110 15.2)."""
        self.interim += 1
        if head.status == 101:
            raise HeadError("101 without having been asked to switch protocols")
        if self.interim > INTERIM_MAX:
            raise HeadError(f"more than {INTERIM_MAX} interim answers")
        informed = self.informed
        if head.status != 100 and informed is not None and informed.inform is not None:
            informed.inform(informed, head.status, head.fields)

    def _switch(self, head: Head, rest: bytes) -> None:
        """The origin switches protocols; `rest` is the beginning of the new one. Raises HeadError."""
        chosen = head.fields.joined(b"upgrade")
        if not is_among(chosen, self.upgrade):
            raise HeadError(f"101 to {chosen!r}, which was not asked for")
        self.state = _TUNNEL
        self.tunnel = OriginEnd(self.keeper.settings, self.transport, self.loop, rest, self.connection_lost)
        self._give(head, self.tunnel, None)

    def _begin_body(self, head: Head, rest: bytes) -> None:
        """The head is final: answer now, or when a small body is whole."""
        self.keep = head.keep and not self.upgrade
        if head.idle_s is not None:
            limit_ns = max(1, (head.idle_s - 1) * 1_000_000_000)
            self.idle_limit_ns = min(limit_ns, int(self.keeper.settings.keepalive_s * 1e9))
        size = head.size
        if 0 < self.body_limit < size:
            self._fail_body_size(f"a body of {size} bytes is announced,")
            return
        if 0 <= size <= len(rest):  # here already, like most answers
            if size < len(rest):
                self.keep = False
                rest = rest[:size]
            self._end_exchange()
            self._give(head, rest if head.length == size else None, head.length)
            return
        self.state = _BODY
        body = self.body = Body(self, size, head.length, self.body_limit)
        self.unanswered = head
        if rest:
            self._take_body(rest)
        if self.state is _BODY and not 0 <= size <= WHOLE_BYTES:
            self.unanswered = None
            self._give(head, body, head.length)

    def _take_body(self, data: bytes) -> None:
        body = self.body
        assert body is not None
        try:
            body.feed(data)
        except TooLargeError as error:
            self._fail_body_size(str(error))
            return
        except BodyError as error:
            self.fail(self._error(502, Fault.PROTOCOL, str(error)))
            return
        if body.complete:
            self._end_body(body)

    def _fail_body_size(self, what: str) -> None:
        detail = f"{what} more than the {self.body_limit} it may have (`max_response`)"
        self.fail(self._error(502, Fault.RESPONSE_BODY_SIZE, detail))

    def _end_body(self, body: Body) -> None:
        """The body is complete: let the connection go, and answer if a whole body was awaited."""
        head, self.unanswered = self.unanswered, None
        if body.surplus:
            self.keep = False
        self._end_exchange()
        if head is None:
            return
        if body.trailers is None:
            whole = body.take_all()
            self._give(head, whole, len(whole))
        else:
            self._give(head, body, body.length)

    def _end_exchange(self) -> None:
        """The answer has ended. If it overtook the request, the connection cannot be used again."""
        self.body = self.informed = None
        if self.upload is not None:
            self.state = _CLOSED
            self._cut()
        elif self.keep and not self.retired:
            if self.paused:
                self.resume()
            self.state = _IDLE
            self.reused = True
            self.keeper.give_back(self)
        else:
            self.close()

    def _give(self, head: Head, body: bytes | Body | OriginEnd | None, length: int | None) -> None:
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_result(Response(head.status, head.fields, body, length))
        elif self.state is _BODY or self.state is _TUNNEL:
            self.abandon()

    def give_up(self, answer: Future[Response]) -> None:
        """Whoever waited for `answer` was cancelled, maybe when it had just come."""
        if answer.cancelled():
            if self.answer is answer:
                self.abandon()
        elif answer.exception() is None and isinstance(body := answer.result().body, Body | OriginEnd):
            body.close()

    # the end

    def _lost(self, how: str) -> None:
        if self.state is _HEAD:
            self.is_stale = self.reused and not self.first_byte_ns
            if self.first_byte_ns:
                self.fail(self._error(502, Fault.INCOMPLETE, f"{how} in the middle of its answer's head"))
            else:
                self.fail(self._error(502, Fault.TERMINATED, f"{how} before its answer began"))
        elif self.state is _BODY:
            self.fail(self._error(502, Fault.INCOMPLETE, f"{how} in the middle of the body"))
        else:
            self.state = _CLOSED

    def _cut(self) -> None:
        """Close at once and let nothing wait any more."""
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.cancel()
        self.resume_writing()
        self.transport.abort()

    def _error(self, status: int, fault: Fault, detail: str) -> EdgeError:
        return EdgeError(status, Side.ORIGIN, fault, f"{self.keeper.settings.url}: {detail}")
