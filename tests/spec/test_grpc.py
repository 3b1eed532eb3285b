"""gRPC through a whole edge: client and server are those of the `grpcio` package."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
import trustme

from tests.support.cluster import PATIENCE_S
from tests.support.configured_edge import ConfiguredEdge, configured_edge
from tests.support.grpc_origin import OPTIONS, Echo, GrpcOrigin, Messages
from tests.support.ports import free_port
from tests.support.tls_pair import write_pair

AUTHORITY = trustme.CA()
MIB = 1024**2


def configuration(directory: Path, origin: str, more: str = "") -> str:
    """An edge on http (h2c) and https, before a gRPC server."""
    certificate, key = write_pair(AUTHORITY, directory)
    ca_file = directory / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(ca_file))
    return (
        "listen: ['http://127.0.0.1:0', 'https://127.0.0.1:0']\n"
        "http2: {plain: true}\n"
        f"tls: [{{certificate: {certificate}, key: {key}}}]\n"
        f"sites: [{{origin: {{url: '{origin}', protocol: h2, ca_file: {ca_file}{more}}}}}]\n"
    )


@contextmanager
def channel_to(edge: ConfiguredEdge, scheme: str = "https") -> Iterator[grpc.Channel]:
    """A connection of its own to the edge."""
    address = next(urlsplit(url).netloc for url in edge.cluster.urls if url.startswith(f"{scheme}:"))
    options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    if scheme == "http":
        made = grpc.insecure_channel(address, options)
    else:
        trust = grpc.ssl_channel_credentials(AUTHORITY.cert_pem.bytes())
        made = grpc.secure_channel(address, trust, options)
    with made as channel:
        yield channel


class Running:
    """An edge before a gRPC server, and a client's channel through it."""

    def __init__(self, edge: ConfiguredEdge, origin: GrpcOrigin, channel: grpc.Channel) -> None:
        self.edge = edge
        self.origin = origin
        self.echo = Echo(channel)


@pytest.fixture(scope="module", params=["h2c to h2c", "TLS to TLS", "TLS to h2c"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    client, _, origin = request.param.partition(" to ")
    directory = tmp_path_factory.mktemp("edge")
    with ExitStack() as stack:
        server = stack.enter_context(GrpcOrigin(AUTHORITY if origin == "TLS" else None, threads=128))
        edge = stack.enter_context(configured_edge(directory, configuration(directory, server.url)))
        channel = stack.enter_context(channel_to(edge, "http" if client == "h2c" else "https"))
        yield Running(edge, server, channel)


def test_a_unary_call_is_answered(running: Running) -> None:
    for number in range(20):
        message = b"hello %d" % number
        assert running.echo.unary(message, timeout=PATIENCE_S) == message
    assert running.echo.unary(b"", timeout=PATIENCE_S) == b""


def test_the_messages_of_a_stream_come_in_order(running: Running) -> None:
    assert list(running.echo.down(b"1000", timeout=PATIENCE_S)) == [b"%d" % n for n in range(1000)]
    assert list(running.echo.down(b"0", timeout=PATIENCE_S)) == []


def test_a_client_streams_and_is_answered_once(running: Running) -> None:
    assert running.echo.up(iter([b"x" * 1000] * 500), timeout=PATIENCE_S) == b"500000"
    assert running.echo.up(iter([]), timeout=PATIENCE_S) == b"0"


def test_both_sides_stream_and_each_message_waits_for_the_one_before(running: Running) -> None:
    messages = Messages()
    call = running.echo.talk(iter(messages), timeout=PATIENCE_S)
    for number in range(100):
        messages.send(b"ping %d" % number)
        assert next(call) == b"ping %d" % number
    messages.send(None)
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK


def test_an_answer_ends_although_the_client_could_go_on(running: Running) -> None:
    messages = Messages()
    call = running.echo.talk(iter(messages), timeout=PATIENCE_S)
    messages.send(b"more")
    assert next(call) == b"more"
    messages.send(b"enough")
    assert list(call) == [b"enough"]
    assert call.code() is grpc.StatusCode.OK
    messages.send(None)


def test_metadata_goes_both_ways(running: Running) -> None:
    sent = (("x-plain", "a b"), ("x-binary-bin", bytes(range(256))), ("authorization", "Bearer secret"))
    answer, call = running.echo.tell.with_call(b"", metadata=sent, timeout=PATIENCE_S)
    assert answer == b"told"
    first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (first["x-first"], first["x-first-bin"]) == ("early", b"\x00\xff")
    assert (last["x-last"], last["x-last-bin"]) == ("late", b"\xff\x00")
    assert "x-request-id" in first
    got = next(each for each in running.origin.metadata if "x-plain" in each)
    assert {name: got[name] for name, _ in sent} == dict(sent)


def test_a_status_and_its_details_arrive_as_the_server_gave_them(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        running.echo.fail(b"", timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "zu groß: 100%"
    assert ("x-why", "because") in tuple(caught.value.trailing_metadata())
    with pytest.raises(grpc.RpcError) as caught:
        running.echo.none(b"", timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_that_takes_too_long_ends_at_both_ends(running: Running) -> None:
    call = running.echo.wait.future(b"", timeout=2.0)
    running.origin.until_open(1)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    running.origin.until_open(0)


def test_a_client_that_cancels_is_gone_for_the_server_too(running: Running) -> None:
    messages = Messages()
    call = running.echo.talk(iter(messages))
    messages.send(b"x")
    assert next(call) == b"x"
    running.origin.until_open(1)
    call.cancel()
    running.origin.until_open(0)
    assert call.code() is grpc.StatusCode.CANCELLED
    messages.send(None)
    waiting = running.echo.wait.future(b"")
    running.origin.until_open(1)
    waiting.cancel()
    running.origin.until_open(0)


def test_large_messages_pass_both_ways(running: Running) -> None:
    message = bytes(range(256)) * (8 * MIB // 256)
    assert running.echo.unary(message, timeout=PATIENCE_S) == message
    assert running.echo.up(iter([message] * 3), timeout=PATIENCE_S) == b"%d" % (3 * len(message))
    assert list(running.echo.talk(iter([message, message]), timeout=PATIENCE_S)) == [message, message]


def test_a_hundred_streams_at_once_each_get_their_own(running: Running) -> None:
    streams = [Messages() for _ in range(100)]
    calls = [running.echo.talk(iter(messages), timeout=PATIENCE_S) for messages in streams]
    for round_ in range(3):
        for number, messages in enumerate(streams):
            messages.send(b"%d of %d" % (round_, number))
        for number, call in enumerate(calls):
            assert next(call) == b"%d of %d" % (round_, number)
    running.origin.until_open(100)
    for messages, call in zip(streams, calls, strict=True):
        messages.send(None)
        assert list(call) == []
        assert call.code() is grpc.StatusCode.OK
    running.origin.until_open(0)


# One edge per test.


@pytest.fixture
def origin() -> Iterator[GrpcOrigin]:
    with GrpcOrigin(port=free_port()) as server:
        yield server


def test_without_a_server_a_call_is_unavailable_and_with_one_again_it_is_answered(tmp_path: Path) -> None:
    port = free_port()
    with configured_edge(tmp_path, configuration(tmp_path, f"http://127.0.0.1:{port}")) as edge:
        with channel_to(edge) as channel:
            echo = Echo(channel)
            with pytest.raises(grpc.RpcError) as caught:
                echo.unary(b"x", timeout=PATIENCE_S)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details().startswith("The site's own server refused the connection.")
            with pytest.raises(grpc.RpcError) as caught:
                list(echo.talk(iter([b"x"]), timeout=PATIENCE_S))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            with GrpcOrigin(port=port):
                assert echo.unary(b"x", timeout=PATIENCE_S) == b"x"


def test_a_server_that_restarts_costs_no_call(tmp_path: Path, origin: GrpcOrigin) -> None:
    """Its connections end between calls, or by a GOAWAY in the middle of them."""
    with configured_edge(tmp_path, configuration(tmp_path, origin.url)) as edge, channel_to(edge) as channel:
        echo = Echo(channel)
        assert echo.unary(b"first", timeout=PATIENCE_S) == b"first"
        waiting = echo.wait.future(b"waits", timeout=PATIENCE_S)
        origin.until_open(1)
        stopped = origin.stop_gracefully()
        with GrpcOrigin(port=origin.port):
            for number in range(20):
                assert echo.unary(b"%d" % number, timeout=PATIENCE_S) == b"%d" % number
            origin.go.set()
            assert waiting.result() == b"waits"
            stopped.wait(PATIENCE_S)


def test_a_server_that_stops_ends_the_streams_it_had(tmp_path: Path, origin: GrpcOrigin) -> None:
    with configured_edge(tmp_path, configuration(tmp_path, origin.url)) as edge, channel_to(edge) as channel:
        messages = Messages()
        call = Echo(channel).talk(iter(messages), timeout=PATIENCE_S)
        messages.send(b"x")
        assert next(call) == b"x"
        origin.stop()
        with pytest.raises(grpc.RpcError):
            next(call)
        assert call.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        messages.send(None)


def test_a_stream_outlives_a_reload(tmp_path: Path, origin: GrpcOrigin) -> None:
    text = configuration(tmp_path, origin.url)
    with configured_edge(tmp_path, text) as edge, channel_to(edge) as channel:
        messages = Messages()
        call = Echo(channel).talk(iter(messages), timeout=PATIENCE_S)
        messages.send(b"before")
        assert next(call) == b"before"
        before = edge.cluster.pids
        edge.reload(text)
        assert not set(before) & set(edge.cluster.pids)
        with channel_to(edge) as another:
            assert Echo(another).unary(b"new", timeout=PATIENCE_S) == b"new"
        for number in range(20):
            messages.send(b"after %d" % number)
            assert next(call) == b"after %d" % number
        messages.send(None)
        assert list(call) == []
        assert call.code() is grpc.StatusCode.OK


def test_a_stream_on_which_both_are_silent_stays_open(tmp_path: Path, origin: GrpcOrigin) -> None:
    text = configuration(tmp_path, origin.url) + "limits: {body_timeout: 1s}\n"
    with configured_edge(tmp_path, text) as edge, channel_to(edge) as channel:
        messages = Messages()
        call = Echo(channel).talk(iter(messages), timeout=PATIENCE_S)
        messages.send(b"one")
        assert next(call) == b"one"
        time.sleep(4)
        messages.send(b"two")
        assert next(call) == b"two"
        messages.send(None)
        assert list(call) == []


def test_calls_go_to_another_server_while_one_is_down(tmp_path: Path, origin: GrpcOrigin) -> None:
    servers = [f"http://127.0.0.1:{free_port()}", origin.url]
    text = configuration(tmp_path, origin.url)
    text = text[: text.index("sites:")] + f"sites: [{{origin: {{servers: {servers}, protocol: h2}}}}]\n"
    with configured_edge(tmp_path, text) as edge, channel_to(edge) as channel:
        echo = Echo(channel)
        for number in range(10):
            assert echo.unary(b"%d" % number, timeout=PATIENCE_S) == b"%d" % number


def test_a_refusal_of_the_edge_is_a_status_of_grpc(tmp_path: Path, origin: GrpcOrigin) -> None:
    text = configuration(tmp_path, origin.url).replace("sites: [{", "sites: [{access: {deny: 127.0.0.0/8}, ")
    with configured_edge(tmp_path, text) as edge, channel_to(edge) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            Echo(channel).unary(b"x", timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert origin.metadata == []
