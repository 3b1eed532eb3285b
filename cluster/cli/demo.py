"""`run-demo`: the demo origin, the edge in front of it, and what to try."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from cluster.cli.options import json_option
from cluster.cli.output import say
from cluster.cli.serving import announcement, serve
from cluster.config import Flags, default_state_dir, load
from cluster.errors import BootError

HOST = "127.0.0.1"
PORTS = {"http": 8080, "https": 8443, "admin": 9180, "origin": 8081}
END_S = 10.0  # for the demo origin, once the edge has ended

Port = click.IntRange(1, 65535)


@click.command("run-demo")
@click.option("--http-port", type=Port, metavar="PORT", help=f"Port for http. [default: {PORTS['http']}]")
@click.option("--https-port", type=Port, metavar="PORT", help=f"Port for https. [default: {PORTS['https']}]")
@click.option(
    "--admin-port", type=Port, metavar="PORT", help=f"Port for metrics. [default: {PORTS['admin']}]"
)
@click.option(
    "--origin-port", type=Port, metavar="PORT", help=f"Port of the origin. [default: {PORTS['origin']}]"
)
@click.option("--workers", metavar="N|auto", help="Worker processes. [default: auto]")
@click.option("--cache-memory", metavar="SIZE", help="Size of the shared cache. [default: 256MiB]")
@click.option("--log", metavar="PATH", help='Access log; "-" is standard output, "" is none. [default: -]')
@click.option("--state-dir", metavar="DIR", help=f"Directory for its files. [default: {default_state_dir()}]")
@json_option
@click.pass_context
def run_demo(
    context: click.RichContext,
    http_port: int | None,
    https_port: int | None,
    admin_port: int | None,
    origin_port: int | None,
    workers: str | None,
    cache_memory: str | None,
    log: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Start a small demo site with the edge in front of it.

    Prints the addresses and three commands to try. A default port that is taken is replaced by a free one.
    Everything listens on this machine only. Ctrl-C ends it.
    """
    chosen = {"origin": origin_port, "http": http_port, "https": https_port, "admin": admin_port}
    notes: list[str] = []
    with origin_socket(chosen["origin"], notes) as listening:
        ports = {name: chosen[name] or free_port(PORTS[name], notes) for name in ("http", "https", "admin")}
        ports["origin"] = listening.getsockname()[1]
        if len(set(ports.values())) != len(ports):
            raise click.UsageError("the ports must differ")
        flags = Flags(
            to=f"http://{HOST}:{ports['origin']}",
            listen=(f"http://{HOST}:{ports['http']}", f"https://{HOST}:{ports['https']}"),
            admin=f"http://{HOST}:{ports['admin']}",
            workers=workers,
            cache_memory=cache_memory,
            log=log,
            state_dir=state_dir,
        )
        loading = partial(load, None, flags)
        settings = loading()
        origin = start_origin(listening)
    try:
        for note in notes:
            say(note, error=True)
        announce = partial(announce_json if as_json else announce_text, flags)
        context.exit(serve(settings, loading, announce))
    finally:
        stop_origin(origin)


@contextmanager
def origin_socket(port: int | None, notes: list[str]) -> Iterator[socket.socket]:
    """The origin's listening socket, closed here at the end: on `port`, the default, or a free one."""
    wanted = port or free_port(PORTS["origin"], notes)
    try:
        listening = socket.create_server((HOST, wanted))
    except OSError:
        raise BootError(
            f"cannot listen on {HOST}:{wanted} for the demo origin: the port is taken; "
            "choose another --origin-port"
        ) from None
    with listening:
        yield listening


def free_port(default: int, notes: list[str]) -> int:
    """`default` when nobody listens there, else a free port, and a note about it."""
    try:
        with socket.create_server((HOST, default)):
            return default
    except OSError:
        pass
    with socket.create_server((HOST, 0)) as listening:
        port: int = listening.getsockname()[1]
    notes.append(f"port {default} is taken, so this uses {port}")
    return port


def start_origin(listening: socket.socket) -> subprocess.Popen[bytes]:
    """The demo origin as a process of its own session, so that Ctrl-C lets the edge finish with it first."""
    return subprocess.Popen(
        [sys.executable, "-m", "cluster.demo", "--fd", str(listening.fileno()), "--parent", str(os.getpid())],
        pass_fds=[listening.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def stop_origin(origin: subprocess.Popen[bytes]) -> None:
    """End the demo origin and wait for it."""
    origin.terminate()
    try:
        origin.wait(END_S)
    except subprocess.TimeoutExpired:
        origin.kill()
        origin.wait()


def announce_json(flags: Flags, status: Mapping[str, Any]) -> None:
    """The ready line for programs."""
    say(json.dumps({**announcement(status), "origin": flags.to}))


def announce_text(flags: Flags, status: Mapping[str, Any]) -> None:
    """The ready line, the addresses, and what to try."""
    from cluster.status import ready_line

    say("\n".join([ready_line(dict(status)), "", guide(flags, status)]))
    sys.stdout.flush()


def guide(flags: Flags, status: Mapping[str, Any]) -> str:
    """What to open, what to type, and what to look at."""
    http, https = status["listeners"]
    authority = shlex.quote(f"{status['state_dir']}/tls/ca.pem")
    here = "" if flags.state_dir is None else f" --state-dir {shlex.quote(flags.state_dir)}"
    command = typed()
    return f"""The demo is running. Open it in a browser:
  {http + "/":<32}the site, through the edge
  {https + "/":<32}the same over TLS, with a certificate of a local authority
  {status["admin"] + "/metrics":<32}the metrics
  {(flags.to or "") + "/":<32}the origin itself, without the edge

Three things to try, each of them twice:
  curl -si {http}/page
      Look at Cache-Status: first a miss that is stored, then "hit" with a growing Age.
  time curl -s {http}/slow
      The origin takes a second for it. The second time it comes from the cache, at once.
  curl -si --cacert {authority} {https}/language -H 'Accept-Language: de'
      Over TLS, and one stored page per language (Vary): ask for fr, and that one is a miss.

Then, from another terminal:
  {command} status{here}
  {command} purge{here} {http}/page

Ctrl-C ends it all.
"""


def typed() -> str:
    """What to type for this command here: a shell without our virtual environment does not find its name."""
    if shutil.which("edgecluster"):
        return "edgecluster"
    beside = Path(sys.executable).with_name("edgecluster")
    if not beside.exists():
        return f"{shlex.quote(sys.executable)} -m cluster"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))
