"""`start`: the edge in the foreground."""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from cluster.cli.options import flags_of, json_option, serving_options
from cluster.config import load
from cluster.errors import BootError
from cluster.settings import ClusterSettings


@click.command("start")
@serving_options
@click.option(
    "--drop-cache",
    is_flag=True,
    help="Start with an empty cache even if an edge that crashed left a full one.",
)
@json_option
@click.pass_context
def start(
    context: click.RichContext, /, config_path: Path | None, drop_cache: bool, as_json: bool, **flags: Any
) -> None:
    """Start the edge and stay in the foreground.

    It needs no file: `--to URL` alone puts the edge in front of that origin. It prints one line beginning
    with "ready" once every worker accepts. Ctrl-C or `edgecluster stop` finishes what is under way and ends.

    Examples:

    edgecluster start --to http://127.0.0.1:8000

    edgecluster start --config edge.yaml --workers 4
    """
    loading = partial(load, config_path, flags_of(**flags))
    settings = replace(loading(), drop_cache=drop_cache)
    context.exit(serve(settings, loading, announce_json if as_json else None))


def serve(
    settings: ClusterSettings,
    loading: Callable[[], ClusterSettings],
    announce: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """Run the supervisor; `announce` gets its status once, when everything serves."""
    # Heavy with everything a worker needs: only who starts one waits for it.
    from cluster.supervisor import Supervisor

    make_state_dir(settings.state_dir)
    log_to_stderr()
    supervisor = (
        Supervisor(settings, loading, announce=announce) if announce else Supervisor(settings, loading)
    )
    return supervisor.run()


def make_state_dir(path: Path) -> None:
    """The state directory, for us alone: it holds private keys and the sockets that control the edge."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BootError(
            f"cannot make the state directory {path}: {error.strerror}; "
            "choose one we may write to with --state-dir"
        ) from None
    if path.stat().st_uid == os.geteuid() and path.stat().st_mode & 0o077:
        os.chmod(path, 0o700)


def log_to_stderr() -> None:
    """What the edge has to say about itself; the access log goes its own way."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )


def announce_json(status: Mapping[str, Any]) -> None:
    """The ready line for programs."""
    sys.stdout.write(json.dumps(announcement(status)) + "\n")
    sys.stdout.flush()


def announcement(status: Mapping[str, Any]) -> dict[str, Any]:
    """What a program wants to know of an edge that has just become ready."""
    keys = ("pid", "listeners", "http3", "admin", "cache_bytes", "config_path", "state_dir")
    return {
        "ok": True,
        "state": "ready",
        "workers": len(status["workers"]),
        **{key: status[key] for key in keys},
    }
