"""`reload`, `stop` and `status`: verbs about an edge that runs."""

import os
import select
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich_click as click

from cluster.cli.admin import ask_admin, ask_supervisor
from cluster.cli.certificates import certificate_line
from cluster.cli.options import json_option, state_dir_option
from cluster.cli.output import answer, duration, say
from cluster.config.units import show_size
from cluster.errors import BootError

RELOAD_S = 300.0
TOP_RULES = 5  # of the WAF that `status` names


@click.command("reload")
@state_dir_option
@json_option
def reload(state_dir: Path, as_json: bool) -> None:
    """Read the configuration again and change over to it.

    New workers start beside the old ones, which finish what they have begun: no request is lost.
    If the new configuration cannot be used, the edge goes on with the old one and this tells why.
    """
    result = ask_supervisor(state_dir, "reload", timeout_s=RELOAD_S)
    notes = [str(note) for note in result.get("notes", [])]
    lines = [f"reloaded: generation {result['generation']} serves", *(f"note: {note}" for note in notes)]
    answer(as_json, "\n".join(lines), {"generation": result["generation"], "notes": notes})


@click.command("stop")
@state_dir_option
@click.option(
    "--timeout", "timeout_s", metavar="SECONDS", type=click.FloatRange(min=0), default=60.0,
    help="How long to wait for the end of it. [default: 60]",
)  # fmt: skip
@json_option
def stop(state_dir: Path, timeout_s: float, as_json: bool) -> None:
    """Stop the edge: finish what is under way, then end every process."""
    pid = ask_supervisor(state_dir, "stop")["pid"]
    if not as_json:
        say(f"stopping the edge (pid {pid}): finishing what is under way")
    if not wait_for_end(pid, timeout_s):
        raise BootError(
            f"the edge (pid {pid}) is still finishing requests after {timeout_s:g} s; "
            f"wait longer with --timeout, or end it at once with 'kill {pid}'"
        )
    answer(as_json, "stopped", {"pid": pid})


def wait_for_end(pid: int, timeout_s: float) -> bool:
    """Wait until that process has ended; whether it has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)


@click.command("status")
@state_dir_option
@json_option
def status(state_dir: Path, as_json: bool) -> None:
    """Show what runs and what it has done so far."""
    cluster = ask_supervisor(state_dir, "status")
    cluster.pop("ok")
    try:
        stats = ask_admin(state_dir, "GET", "/stats")
    except BootError as error:  # the numbers are missing; what runs is known all the same
        stats = {"note": str(error)}
    stats.pop("ok", None)
    answer(as_json, report(cluster, stats), {"cluster": cluster, **stats})


def report(cluster: Mapping[str, Any], stats: Mapping[str, Any]) -> str:
    """The status in a few lines for people."""
    state = f"{cluster['state']} for {duration(cluster['uptime_s'])}"
    lines = [
        f"edgecluster {cluster['version']} is {state} (pid {cluster['pid']})",
        f"listening   {'  '.join(cluster['listeners'])}",
        *([f"http/3      udp {'  '.join(cluster['http3'])}"] if cluster["http3"] else []),
        f"admin       {cluster['admin'] or 'on the Unix socket only'}",
        f"config      {cluster['config_path'] or 'none (flags only)'}, generation {cluster['generation']}",
        *([_waf(cluster["waf"], stats)] if cluster.get("waf") else []),
        f"workers     {', '.join(_workers(cluster))}",
        f"cache start {_cache_start(cluster)}",
    ]
    if "totals" not in stats:
        return "\n".join([*lines, f"numbers     missing: {stats['note']}"])
    totals, cache = stats["totals"], stats["cache"]
    stored = f"{cache['objects']:,} objects, {show_size(cache['bytes_stored'])} stored"
    lines += [
        f"requests    {totals['requests']:,} answered, hit ratio {totals['hit_ratio']:.1%}",
        f"origin      {totals['origin_requests']:,} requests sent",
        f"refused     {totals['blocked']:,} blocked, {totals['errors']:,} failed",
        f"clients     {totals['connections_open']:,} connected, {show_size(totals['bytes_out'])} sent",
        f"cache       {stored} in {show_size(cluster['cache_bytes'])}",
    ]
    for group in stats["groups"]:
        lines += _group(group)
    lines += [f"certificate {certificate_line(one)}" for one in stats.get("certificates", ())]
    if error := stats.get("address_files", {}).get("error"):
        lines.append(f"access list {error}")
    return "\n".join(lines)


def _waf(words: str, stats: Mapping[str, Any]) -> str:
    """What the WAF does, and its rules that matched most often."""
    counts: Mapping[str, int] = stats.get("waf_rules", {})
    top = sorted(counts, key=lambda rule: (-counts[rule], rule))[:TOP_RULES]
    line = f"waf         {words.removeprefix('waf ')}"
    return line + (f"; most often {', '.join(f'{rule} ({counts[rule]:,})' for rule in top)}" if top else "")


def _group(group: Mapping[str, Any]) -> list[str]:
    """A group of origins and each of its servers."""
    servers, breaker = group["servers"], group["breaker"]
    up = sum(server["state"] == "healthy" for server in servers)
    line = f"group       {group['name']}: {up} of {len(servers)} servers available"
    if breaker is not None and breaker["state"] != "closed":
        line += f", breaker {breaker['state']} for {duration(breaker['for_s'])}"
    return [line, *(f"            {_server(server)}" for server in servers)]


def _server(server: Mapping[str, Any]) -> str:
    text = f"{server['url']}{' (backup)' if server['backup'] else ''} {server['state']}"
    text += "" if server["for_s"] is None else f" for {duration(server['for_s'])}"
    text += "" if server["back_in_s"] is None else f", for {duration(server['back_in_s'])} more"
    return f"{text}: {server['reason']}" if server["reason"] else text


def _cache_start(cluster: Mapping[str, Any]) -> str:
    """What the cache began with, and why."""
    kept, damaged = cluster["cache_objects_kept"], cluster["cache_objects_damaged"]
    objects = f", {kept:,} objects kept" if cluster["cache_start"] == "warm" else ""
    objects += f", {damaged:,} damaged ones dropped" if damaged else ""
    return f"{cluster['cache_start']}{objects}: {cluster['cache_start_reason']}"


def _workers(cluster: Mapping[str, Any]) -> list[str]:
    """How many of the generation in force are up, and what else there is to know."""
    current = [worker for worker in cluster["workers"] if worker["generation"] == cluster["generation"]]
    up = sum(worker["state"] == "ready" for worker in current)
    others = len(cluster["workers"]) - len(current)
    restarts = sum(worker["restarts"] for worker in current)
    words = [f"{up} of {len(current)} up"]
    words += [f"{restarts} replaced"] if restarts else []
    words += [f"{others} of another generation"] if others else []
    return words
