"""The control process: admin API on a Unix socket, metrics on a loopback address, checks of the origins.

Forked by the supervisor beside the workers. It may die at any time without effect on traffic: it keeps
nothing, reads the segment, and asks the supervisor over its socket.
"""

import asyncio
import logging
import os
import signal
import socket
import time
from pathlib import Path

from aiohttp import web

from cluster.control.api import admin_application, public_application
from cluster.control.edge import Edge
from cluster.control.probes import Prober
from cluster.process import ControlStart, Exit, tell_failure, tell_ready

__all__ = ["run"]

log = logging.getLogger("edgecluster.control")

BEAT_S = 1.0
SHUTDOWN_S = 5.0  # for requests under way when we are told to end


def run(start: ControlStart) -> int:
    """Serve until SIGTERM; the exit code for the supervisor. Called once, in the forked process."""
    start.segment.join(start.member, time.monotonic_ns())
    return asyncio.run(_serve(start))


async def _serve(start: ControlStart) -> int:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    edge = Edge(start.segment, start.supervisor_socket, start.settings, start.bans, start.rule_counts)
    try:
        listening = private_socket(start.admin_socket)
    except OSError as error:
        tell_failure(start.ready, f"cannot make the admin socket {start.admin_socket}: {error.strerror}")
        return Exit.COULD_NOT_BOOT
    mine = os.stat(start.admin_socket)
    beating = asyncio.create_task(_beat(start))
    probing = asyncio.create_task(Prober(edge.origins.groups, start.settings.worker.resolvers).run())
    certifying = asyncio.create_task(edge.certificates.run())
    banning = asyncio.create_task(edge.bans.run())
    watching = asyncio.create_task(edge.address_files.run())
    runners: list[web.AppRunner] = []
    try:
        runners.append(await _open(admin_application(edge), listening))
        if start.admin_listener is not None:
            runners.append(await _open(public_application(edge), start.admin_listener))
        tell_ready(start.ready)
        await ended.wait()
    finally:
        for task in (beating, probing, certifying, banning, watching):
            task.cancel()
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        await asyncio.wait([probing, certifying, banning, watching])
        _remove(start.admin_socket, mine)
    return Exit.DRAINED


def private_socket(path: Path) -> socket.socket:
    """A Unix socket that only we may connect to (0600), in place of a left one. Raises OSError."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(0o177)
    try:
        listening.bind(os.fspath(path))
        listening.listen(64)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(mask)
    return listening


async def _open(application: web.Application, listening: socket.socket) -> web.AppRunner:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner


async def _beat(start: ControlStart) -> None:
    """Tell the supervisor that our loop turns."""
    interval_s = min(BEAT_S, start.settings.heartbeat_timeout_s / 4)
    while True:
        start.segment.beat(time.monotonic_ns())
        await asyncio.sleep(interval_s)


def _remove(path: Path, mine: os.stat_result) -> None:
    """Remove our socket file, unless a successor has put its own there."""
    try:
        if os.path.samestat(os.stat(path), mine):
            path.unlink()
    except FileNotFoundError:
        pass
