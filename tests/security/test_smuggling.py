"""Request smuggling: what is sent is refused or reaches the origin in one reading, and poisons no neighbour.

A whole edge with two workers over HTTP/1.1, 2 and 3, judged by what a raw recording origin got. The cases are
in smuggling.py.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.security.smuggling import FAMILIES, REPLIES, SMUGGLED, STREAMS, Case, Reply, Stream
from tests.support.recording_origin import Script
from tests.support.smuggling_edge import Answer, SmugglingEdge, honest, smuggling_edge


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmugglingEdge]:
    with smuggling_edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


CASES = [
    pytest.param(case, id=f"{family}: {case.name}") for family, cases in FAMILIES.items() for case in cases
]


@pytest.mark.parametrize("below", ["stored", "plain"])
@pytest.mark.parametrize("case", CASES)
def test_a_request_is_refused_or_forwarded_in_one_reading(
    edge: SmugglingEdge, case: Case, below: str
) -> None:
    for cut in (False, True):
        edge.begin()
        path, after = edge.new_path(below), edge.new_path()
        sent = case.sent.replace(b"<path>", path)
        at = sent.find(b"\r\n\r\n") + 4 if cut else 0  # behind the head
        wanted = [(method, target.replace(b"<path>", path), body) for method, target, body in case.forwarded]
        with edge.client() as client:
            client.send(sent[:at], sent[at:])
            for method, target, _ in wanted:
                echo = b"" if method == b"HEAD" else method + b" " + target
                assert client.answer(to_head=method == b"HEAD") == Answer(200, echo)
            if not wanted:
                answer = client.answer()
                assert answer is not None
                assert answer.refuses
                assert case.status in (None, answer.status)
            if case.keeps:
                client.send(last(after))
                assert client.answer() == Answer(200, b"GET " + after)
                wanted.append((b"GET", after, b""))
            assert client.answer() is None
        edge.ask_as_neighbours()
        edge.origin.wait_until_cut(path)
        assert [(one.method, one.target, one.body) for one in edge.got()] == wanted


def last(path: bytes) -> bytes:
    """An honest request that ends its connection."""
    return b"GET %b HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n" % path


@pytest.mark.parametrize("version", ["h2", "h3"])
@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_a_stream_is_refused_or_forwarded_in_one_reading(
    edge: SmugglingEdge, stream: Stream, version: str
) -> None:
    edge.begin()
    path, after = edge.new_path(), edge.new_path()
    scheme = b"http" if version == "h2" else b"https"
    answer, next_answer = edge.over(version, stream.sent(scheme, path), stream.body, stream.trailers, after)
    wanted = [(b"GET", after, b"")] if next_answer.status else []
    if stream.fine:
        echo = b"" if stream.method == b"HEAD" else stream.method + b" " + path
        assert answer == Answer(200, echo)
        wanted.insert(0, (stream.method, path, stream.body or b""))
        assert next_answer == Answer(200, b"GET " + after)
    else:
        assert answer.refuses
        assert next_answer in (Answer(0), Answer(200, b"GET " + after))
    edge.ask_as_neighbours()
    edge.origin.wait_until_cut(path)
    assert [(one.method, one.target, one.body) for one in edge.got()] == wanted


# --- answers that do not wait for the body (CL.0, 0.CL) ----------------------------------------------

EARLY = {
    "redirect": (b"/moved/x", 301),
    "403": (b"/forbidden/x", 403),
    "400": (b"/%00", 400),
    "hit": (b"", 200),
}
UNREAD = {
    "length": b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED),
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
    "an expectation": b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED),
}


@pytest.mark.parametrize("cut", ["at once", "behind the head", "in the body"])
@pytest.mark.parametrize("unread", UNREAD)
@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS"], ids=bytes.decode)
def test_a_body_that_nobody_reads_is_no_request(
    edge: SmugglingEdge, method: bytes, early: str, unread: str, cut: str
) -> None:
    """The connection stays in step with it, or ends."""
    target, status = EARLY[early]
    if not target:
        target = edge.new_path("stored")
        with edge.client() as client:
            client.send(last(target))
            assert client.answer() == Answer(200, b"GET " + target)
    edge.begin()
    sent = method + b" " + target + b" HTTP/1.1\r\nHost: edge.test\r\n" + UNREAD[unread]
    end = sent.index(b"\r\n\r\n") + 4
    at = {"at once": len(sent), "behind the head": end, "in the body": end + 9}[cut]
    after = edge.new_path()
    with edge.client() as client:
        client.send(sent[:at])
        if cut == "behind the head" and "expectation" not in unread:
            client.send(sent[at:] + last(after))  # in one piece with what is pipelined
        else:
            client.send(sent[at:], last(after))
        answer = client.answer()
        assert answer is not None
        assert answer.status == (308 if status == 301 and method != b"GET" else status)
        next_answer = client.answer()
        assert next_answer in (None, Answer(200, b"GET " + after))
        assert client.answer() is None
    edge.ask_as_neighbours()
    forwarded = [(method, target, SMUGGLED)] if early == "hit" else []  # a body is no part of a cache key
    if next_answer is not None:
        forwarded.append((b"GET", after, b""))
    assert [(one.method, one.target, one.body) for one in edge.got()] == forwarded


@pytest.mark.parametrize("ends", [False, True], ids=["kept", "closed"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole body", "half a body"])
def test_an_origin_that_answers_before_the_body_is_not_asked_again_behind_half_of_it(
    edge: SmugglingEdge, whole: bool, ends: bool
) -> None:
    edge.begin()
    path, after = edge.new_path(), edge.new_path()
    edge.origin.scripts[path] = Script(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly", early=True, ends=ends
    )
    body = SMUGGLED + last(after)
    head = b"POST %b HTTP/1.1\r\nHost: edge.test\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
    with edge.client() as client:
        client.send(head + body[:5])
        assert client.answer() == Answer(200, b"early")
        client.send(body[5:] if whole else body[5:-1])
        if whole:
            client.send(last(after))
            assert client.answer() in (None, Answer(200, b"GET " + after))
    edge.ask_as_neighbours()
    edge.origin.wait_until_cut(path)
    edge.origin.wait_until_ended(path)
    (carrier,) = edge.origin.carriers(path)
    assert (
        bytes(carrier.received).rpartition(b"\r\n\r\n")[0].count(b"/neighbour/", carrier.received.index(path))
        == 0
    )
    assert {one.target for one in edge.got()} <= {path, after}


def test_what_comes_behind_a_long_pause_is_not_read_as_a_request(edge: SmugglingEdge) -> None:
    edge.begin()
    targets = edge.new_path(), edge.new_path("stored"), b"/moved/x"
    with ExitStack() as stack:
        clients = [stack.enter_context(edge.client()) for _ in targets]
        for target, client in zip(targets, clients, strict=True):
            head = b"POST %b HTTP/1.1\r\nHost: edge.test\r\nContent-Length: %d\r\n\r\n"
            client.send(head % (target, len(SMUGGLED)))
        for target, client in zip(targets, clients, strict=True):
            answer = client.answer()  # at once, or when the edge has waited long enough
            assert answer is not None
            assert answer.status == (308 if target.startswith(b"/moved/") else 408)
            assert client.answer() is None
            client.send(SMUGGLED + SMUGGLED)
    edge.ask_as_neighbours()
    for target in targets:
        edge.origin.wait_until_cut(target)
    assert edge.got() == []


# --- Connection and the cache ------------------------------------------------------------------------


def test_a_field_that_a_client_has_removed_by_connection_does_not_choose_a_variant(
    edge: SmugglingEdge,
) -> None:
    """Else whoever names it there could store what the origin made without it, for all who send it."""
    path = edge.new_path("stored")
    edge.begin()
    for extra in (b"Connection: X-Lang\r\n", b""):
        with edge.client() as client:
            client.send(b"GET %b HTTP/1.1\r\nHost: edge.test\r\nX-Lang: de\r\n%b\r\n" % (path, extra))
            assert client.answer() == Answer(200, b"GET " + path)
    assert [one.get(b"x-lang") for one in edge.got()] == [None, b"de"]


# --- tunnels -----------------------------------------------------------------------------------------

WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
DECLINED = {
    "426": b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 5\r\n\r\nhello",
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "400 that claims to switch": b"HTTP/1.1 400 Bad Request\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
    "101 to another protocol": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "101 to none": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
}


@pytest.mark.parametrize("declined", DECLINED)
def test_a_websocket_that_the_origin_declines_is_no_tunnel(edge: SmugglingEdge, declined: str) -> None:
    """What follows is the next request, and subject to every rule."""
    edge.begin()
    path, after = edge.new_path(), edge.new_path()
    edge.origin.scripts[path] = Script(DECLINED[declined])
    with edge.client() as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: edge.test\r\n%b\r\n" % (path, WEBSOCKET))
        answer = client.answer()
        assert answer is not None
        assert answer.status == (502 if declined.startswith("101") else int(declined[:3]))
        client.send(b"GET /forbidden/x HTTP/1.1\r\nHost: edge.test\r\n\r\n" + last(after))
        answer = client.answer()
        assert answer is not None
        assert answer.status == 403
        assert client.answer() == Answer(200, b"GET " + after)
    edge.ask_as_neighbours()
    assert [one.target for one in edge.got()] == [path, after]
    assert edge.origin.carriers(path)[0] not in edge.origin.carriers(after)


@pytest.mark.parametrize("version", ["h2", "h3"])
@pytest.mark.parametrize("declined", DECLINED)
def test_a_websocket_in_a_stream_that_the_origin_declines_is_no_tunnel(
    edge: SmugglingEdge, declined: str, version: str
) -> None:
    edge.begin()
    path, after = edge.new_path(), edge.new_path()
    edge.origin.scripts[path] = Script(DECLINED[declined])
    scheme = b"http" if version == "h2" else b"https"
    pseudo = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *honest(scheme, path)[1:]]
    answer, next_answer = edge.over(version, pseudo, SMUGGLED, (), after)
    assert answer.refuses
    assert next_answer == Answer(200, b"GET " + after)
    edge.ask_as_neighbours()
    assert [one.target for one in edge.got()] == [path, after]


def test_a_websocket_that_is_accepted_is_a_tunnel_and_its_connection_is_never_used_again(
    edge: SmugglingEdge,
) -> None:
    edge.begin()
    path = edge.new_path()
    accepted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
    edge.origin.scripts[path] = Script(accepted, ends=True)
    with edge.client() as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: edge.test\r\n%b\r\n" % (path, WEBSOCKET))
        assert client.answer() == Answer(101)
        assert client.rest() == b"hello"
    edge.ask_as_neighbours()
    assert [one.target for one in edge.got()] == [path]


# --- what a bad origin sends -------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["stored", "plain"])
@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.name)
def test_an_answer_of_the_origin_is_refused_or_ends_where_it_ends(
    edge: SmugglingEdge, reply: Reply, below: str
) -> None:
    """No byte of it is anybody else's answer."""
    edge.begin()
    path, after = edge.new_path(below), edge.new_path()
    edge.origin.scripts[path] = Script(reply.answer, late=reply.late, ends=reply.ends)
    with edge.client() as client:
        client.send(b"%b %b HTTP/1.1\r\nHost: edge.test\r\n\r\n" % (reply.method, path))
        answer = client.answer(to_head=reply.method == b"HEAD")
        if reply.late:
            edge.origin.wait_until_ended(path)
        if reply.status:
            assert answer is not None
            assert answer.status == reply.status
            if not answer.refuses:
                assert answer.body == reply.body
            client.send(last(after))
            assert client.answer() == Answer(200, b"GET " + after)
        assert client.answer() is None
    edge.ask_as_neighbours()
    assert b"SMUGGLED" not in (answer.body if answer else b"")
    assert {one.target for one in edge.got()} <= {path, after}
    if reply.fine:
        carrier = edge.origin.carriers(path)[-1]
        assert [one.target for one in carrier.requests][-1] != path  # it went on with others' requests
    elif not reply.late:
        edge.origin.wait_until_ended(path)
