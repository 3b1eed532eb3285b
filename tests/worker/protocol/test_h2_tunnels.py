"""How a tunnel over a stream ends when its client takes nothing, by a clock of the test's own."""

from tests.support.h1_edge import SECOND, run
from tests.support.h2_edge import H2Edge
from tests.support.h2_websocket import switch, tunnel
from tests.support.scripted_origin import ScriptedOrigin, Wire
from worker.context import Context
from worker.message import Response
from worker.origin.fetch import OriginFetch
from worker.settings import OriginSettings, RouteSettings

CANCEL = 8
WINDOW = 1000  # of the client; few bytes, so that the edge goes on reading and notices the reset


def test_only_a_closing_tunnel_is_cut_for_a_client_that_takes_nothing() -> None:
    async def flood(wire: Wire) -> None:
        await switch(wire, bytes(2 * WINDOW))
        await wire.stall()
        wire.reset()

    async def test(origin: ScriptedOrigin) -> None:
        settings = OriginSettings("http", "127.0.0.1", origin.port)
        fetch = OriginFetch(settings)

        async def forward(ctx: Context) -> Response:
            ctx.route = RouteSettings("all", b"/", settings)
            return await fetch(ctx)

        async with (
            H2Edge(lambda _: None, forward) as edge,
            await edge.client(reading=False, window=WINDOW) as client,
        ):
            _, came = await tunnel(client, "/")
            await client.until(lambda: len(came.body) == WINDOW)
            (exchange,) = edge.h2_connection._session.streams.values()
            patience_ns = int((edge.limits.send_timeout_s + 1) * SECOND)
            now_ns = edge.server.now_ns
            for _ in range(3):
                now_ns += patience_ns
                edge.server.sweep(now_ns)
            assert came.reset is None
            origin.release()
            await edge.until(lambda: exchange._tunnel.is_closing)
            assert came.reset is None
            edge.server.sweep(now_ns + patience_ns)
            await client.until(lambda: came.reset is not None)
            assert (came.reset, len(came.body)) == (CANCEL, WINDOW)
            await edge.until(lambda: edge.finished)
            assert edge.tally.told[-2:] == ["tunnel", "end of tunnel"]
        fetch.close()
        await fetch.wait_closed()

    with ScriptedOrigin([flood]) as origin:
        run(test(origin))
