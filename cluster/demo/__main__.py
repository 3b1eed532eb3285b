"""Serve the demo site on a loopback port, or on a listening socket handed down by the caller."""

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import socket

from aiohttp import web

from cluster.demo.pages import application

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster.demo", description="Serve the demo site on 127.0.0.1."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=int, default=8081, help="port on 127.0.0.1 (8081)")
    where.add_argument("--fd", type=int, help="listening socket, inherited, to use instead")
    parser.add_argument("--parent", type=int, help="end with this process, which is the one that started us")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        end_with(arguments.parent)
    if arguments.fd is not None:
        listening = socket.socket(fileno=arguments.fd)
    else:
        try:
            listening = socket.create_server(("127.0.0.1", arguments.port))
        except OSError as error:
            why = os.strerror(error.errno or 0)
            parser.exit(1, f"cannot listen on 127.0.0.1:{arguments.port}: {why}; choose another --port\n")
    with listening, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(listening))
    return 0


async def serve(listening: socket.socket) -> None:
    """Answer on `listening` until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    runner = web.AppRunner(application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        await ended.wait()
    finally:
        await runner.cleanup()


def end_with(parent: int) -> None:
    """Be ended by the kernel when our parent dies, however it dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main())
