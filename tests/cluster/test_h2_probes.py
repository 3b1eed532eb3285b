"""Active checks of servers that speak nothing but HTTP/2, and of gRPC's health service."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import aiohttp
import grpc
import pytest

from cluster.control.probes import Result, check
from tests.support.cluster import PATIENCE_S
from tests.support.ports import free_port
from tests.support.scripted_h2_origin import H2Origin, H2Request, H2Wire
from worker.origin.resolve import Resolver
from worker.reasons import Fault
from worker.settings import OriginSettings, ProbeSettings

HEALTH = "/grpc.health.v1.Health/Check"


def check_once(port: int, path: str = "/health", **probe: object) -> Result:
    async def main() -> Result:
        settings = OriginSettings("http", "127.0.0.1", port, protocol="h2")
        options = replace(ProbeSettings(path=path, timeout_s=30.0), **probe)  # type: ignore[arg-type]
        resolver = Resolver()
        async with aiohttp.ClientSession() as session:
            result = await check(session, settings, options, resolver)
        await asyncio.sleep(0)  # what was cut off ends in the next turn
        await resolver.close()
        return result

    return asyncio.run(main())


@contextmanager
def grpc_server(answer: bytes | None) -> Iterator[int]:
    """Whose health service says that; None: it has none."""

    class Health(grpc.GenericRpcHandler):
        def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            if call.method != HEALTH or answer is None:
                return None
            return grpc.unary_unary_rpc_method_handler(lambda message, context: answer)

    server = grpc.server(ThreadPoolExecutor(2), handlers=(Health(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait(PATIENCE_S)


@pytest.mark.parametrize(("status", "passes"), [("200", True), ("302", True), ("404", False), ("503", False)])
def test_the_status_decides(status: str, passes: bool) -> None:
    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.answer(request, b"fine", status=status)

    with H2Origin(script) as origin:
        assert check_once(origin.port) == Result(passes, status=int(status))
        origin.wait_for(lambda origin: not origin.open_connections)
    (request,) = origin.requests
    assert (request.fields[":method"], request.path) == ("GET", "/health")
    assert request.fields["user-agent"] == "edgecluster-probe"
    assert request.fields[":authority"] == f"127.0.0.1:{origin.port}"


def test_a_server_that_stalls_or_is_not_there_does_not_pass() -> None:
    async def script(wire: H2Wire, request: H2Request) -> None:
        await wire.stall()

    with H2Origin(script, port=free_port()) as origin:
        assert check_once(origin.port, timeout_s=0.2).fault is Fault.RESPONSE_TIMEOUT
    assert check_once(origin.port).fault is Fault.CONNECT_REFUSED


def test_the_health_service_of_grpc_is_called() -> None:
    with grpc_server(b"\x08\x01") as port:
        assert check_once(port, HEALTH) == Result(True, status=200)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"\x08\x02", "it is not serving"), (b"", "it is not serving"), (None, "grpc-status 12")],
)
def test_a_server_that_does_not_say_that_it_serves_does_not_pass(answer: bytes | None, words: str) -> None:
    with grpc_server(answer) as port:
        assert check_once(port, HEALTH) == Result(False, Fault.UNAVAILABLE, detail=words)
