"""What fuzzed streams of requests are answered, whichever framing carries them."""

from worker.fields import Fields
from worker.protocol.stream import CANCEL, Stream

WAYS = 6

NO_FIELDS = Fields.trusted(b"")


def answer(stream: Stream, way: int) -> None:
    """In one of so many ways: whole, in pieces, not at all, without a body, by switching, or later."""
    if way == 0:
        stream.respond(200, NO_FIELDS, b"Date: x\r\n", 5, b"hello", False)
    elif way == 1:
        stream.interim(103, NO_FIELDS)
        stream.respond(200, NO_FIELDS, None, -1, None, True)
        stream.offer(b"x" * 70000)
        stream.finish(Fields.of([(b"x", b"y")]))
    elif way == 2:
        stream.reset(CANCEL)
    elif way == 3:
        stream.respond(204, NO_FIELDS, None, -1, None, False)
    elif way == 4 and stream.protocol is not None:
        stream.switch(NO_FIELDS, None)
        stream.leave()
