"""A gRPC server of the `grpcio` package, on a free loopback port, whose messages are plain bytes: no protoc.

with GrpcOrigin() as origin:
    ...  # origin.url, asked for the methods of SERVICE
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
import trustme

from tests.support.cluster import PATIENCE_S

SERVICE = "/edge.test.Echo/"
MESSAGE_MAX = 16 * 1024 * 1024
OPTIONS = [("grpc.max_receive_message_length", MESSAGE_MAX), ("grpc.max_send_message_length", MESSAGE_MAX)]


class GrpcOrigin:
    """Serves until the block is left.

    Unary and Talk (both ways a stream) give back what they get; Down sends as many messages as it is told; Up
    adds up sizes; Fail ends with INVALID_ARGUMENT; Wait answers when the test says `go`; Tell sends metadata.
    """

    def __init__(self, authority: trustme.CA | None = None, *, port: int = 0, threads: int = 16) -> None:
        """`authority`: serves over TLS, with a certificate of that."""
        self.go = threading.Event()
        self._changed = threading.Condition()
        self._open = 0  # calls of Wait and Talk
        self.metadata: list[dict[str, str | bytes]] = []  # of each call, in order
        self._server = grpc.server(
            ThreadPoolExecutor(threads),
            handlers=(_Handler(self),),
            options=[*OPTIONS, ("grpc.so_reuseport", 0)],
        )
        address = f"127.0.0.1:{port}"
        if authority is None:
            self.port = self._server.add_insecure_port(address)
        else:
            pair = authority.issue_cert("localhost", "127.0.0.1")
            chain = b"".join(blob.bytes() for blob in pair.cert_chain_pems)
            credentials = grpc.ssl_server_credentials([(pair.private_key_pem.bytes(), chain)])
            self.port = self._server.add_secure_port(address, credentials)
        self.url = f"{'http' if authority is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go.set()
        self.stop()

    def stop(self) -> None:
        """End every call and connection."""
        self._server.stop(None).wait(PATIENCE_S)

    def stop_gracefully(self) -> threading.Event:
        """Take no more calls, let the others come to their end; the event is set when they have."""
        return self._server.stop(PATIENCE_S)

    def until_open(self, count: int) -> None:
        """Wait until so many calls of Wait and Talk are open."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._open == count, PATIENCE_S):
                raise TimeoutError(f"{self._open} calls are open, not {count}")

    # the methods

    def unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        return message

    def tell(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("x-first", "early"), ("x-first-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", "late"), ("x-last-bin", b"\xff\x00")))
        return b"told"

    def fail(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "zu groß: 100%")
        raise AssertionError("abort raises")

    def down(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(message)):
            yield b"%d" % number

    def up(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(map(len, messages))

    def talk(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._watch(context)
        for message in messages:
            yield message
            if message == b"enough":
                return

    def wait(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._watch(context)
        self.go.wait(PATIENCE_S)
        return message

    def _watch(self, context: grpc.ServicerContext) -> None:
        context.add_callback(lambda: self._count(-1))
        self._count(1)

    def _count(self, change: int) -> None:
        with self._changed:
            self._open += change
            self._changed.notify_all()


class _Handler(grpc.GenericRpcHandler):
    """Finds the method for a call."""

    def __init__(self, origin: GrpcOrigin) -> None:
        self._origin = origin
        made: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
            "Unary": (grpc.unary_unary_rpc_method_handler, origin.unary),
            "Tell": (grpc.unary_unary_rpc_method_handler, origin.tell),
            "Fail": (grpc.unary_unary_rpc_method_handler, origin.fail),
            "Wait": (grpc.unary_unary_rpc_method_handler, origin.wait),
            "Down": (grpc.unary_stream_rpc_method_handler, origin.down),
            "Up": (grpc.stream_unary_rpc_method_handler, origin.up),
            "Talk": (grpc.stream_stream_rpc_method_handler, origin.talk),
        }
        self._methods = {f"{SERVICE}{name}": make(method) for name, (make, method) in made.items()}

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        self._origin.metadata.append(dict(call.invocation_metadata))
        return self._methods.get(call.method)


class Echo:
    """The calls of SERVICE on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.unary = channel.unary_unary(f"{SERVICE}Unary")
        self.tell = channel.unary_unary(f"{SERVICE}Tell")
        self.fail = channel.unary_unary(f"{SERVICE}Fail")
        self.wait = channel.unary_unary(f"{SERVICE}Wait")
        self.none = channel.unary_unary(f"{SERVICE}None")
        self.down = channel.unary_stream(f"{SERVICE}Down")
        self.up = channel.stream_unary(f"{SERVICE}Up")
        self.talk = channel.stream_stream(f"{SERVICE}Talk")


class Messages:
    """Messages for a stream that the test sends one by one."""

    def __init__(self) -> None:
        self._ready = threading.Semaphore(0)
        self._messages: list[bytes | None] = []

    def send(self, message: bytes | None) -> None:
        """The next one; None ends the stream."""
        self._messages.append(message)
        self._ready.release()

    def __iter__(self) -> Iterator[bytes]:
        while self._ready.acquire(timeout=PATIENCE_S):
            message = self._messages.pop(0)
            if message is None:
                return
            yield message
