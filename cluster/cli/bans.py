"""`ban`, `unban` and `bans`: shutting addresses out while the edge runs."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich_click as click

from cluster.cli.admin import ask_admin
from cluster.cli.options import json_option, state_dir_option
from cluster.cli.output import answer, duration
from cluster.config import units


class DurationType(click.ParamType[float]):
    """A span of time with its unit."""

    name = "duration"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        try:
            seconds = units.duration(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}; write it like 30s, 10m or 7d", parameter, context)
        if seconds <= 0:
            self.fail("a ban of no time has no effect", parameter, context)
        return seconds


@click.command("ban")
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True)
@click.option(
    "--for", "seconds", type=DurationType(), default=None, help="For how long; until lifted if not given."
)
@click.option("--reason", default="", help="What `bans` shows beside it.")
@state_dir_option
@json_option
def ban(
    networks: tuple[str, ...], seconds: float | None, reason: str, state_dir: Path, as_json: bool
) -> None:
    """Shut out addresses or networks, in all workers at once.

    They get 403, also on connections they have open. Bans outlive reloads and restarts.

    Example: edgecluster ban 192.0.2.7 2001:db8::/48 --for 1h
    """
    wanted = {"networks": list(networks), "seconds": seconds, "reason": reason}
    said = ask_admin(state_dir, "POST", "/ban", wanted)
    answer(as_json, "\n".join(ban_line(one) for one in said["bans"]), {"bans": said["bans"]})


@click.command("unban")
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True)
@state_dir_option
@json_option
def unban(networks: tuple[str, ...], state_dir: Path, as_json: bool) -> None:
    """Lift bans, of exactly the networks that were banned."""
    said = ask_admin(state_dir, "POST", "/unban", {"networks": list(networks)})
    lines = [f"{'lifted' if found else 'was not banned'}: {name}" for name, found in said["lifted"].items()]
    answer(as_json, "\n".join(lines), {"lifted": said["lifted"]})


@click.command("bans")
@state_dir_option
@json_option
def bans(state_dir: Path, as_json: bool) -> None:
    """List the bans in force."""
    said = ask_admin(state_dir, "GET", "/bans")
    text = "\n".join(ban_line(one) for one in said["bans"]) or "nobody is banned"
    answer(as_json, text, {"bans": said["bans"]})


def ban_line(one: Mapping[str, Any]) -> str:
    """A ban in one line."""
    until_s = one["until_s"]
    left = "until lifted" if until_s is None else f"for {duration(max(0.0, until_s - time.time()) + 0.5)}"
    return f"banned: {one['network']} {left}" + (f" ({one['reason']})" if one["reason"] else "")
