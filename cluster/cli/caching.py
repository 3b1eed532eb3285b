"""`purge` and `cache`: making the cache forget, and looking into it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import rich_click as click

from cluster.cli.admin import ask_admin
from cluster.cli.options import json_option, state_dir_option
from cluster.cli.output import answer, duration
from cluster.config.units import show_size

_KINDS = {"url": "URLs", "prefix": "--prefix", "host": "--host", "tag": "--tag", "all": "--all"}


@click.command("purge")
@click.argument("urls", metavar="[URL...]", nargs=-1)
@click.option("--prefix", "prefixes", metavar="URL", multiple=True, help="All URLs that begin like this one.")
@click.option(
    "--host", "hosts", metavar="HOST[:PORT]", multiple=True, help="All URLs of a host, http and https."
)
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="All responses that carry this tag.")
@click.option("--all", "everything", is_flag=True, help="Everything that is stored.")
@click.option(
    "--soft", is_flag=True, help="Make it stale instead: it may be served while the origin is asked."
)
@state_dir_option
@json_option
def purge(
    urls: tuple[str, ...],
    prefixes: tuple[str, ...],
    hosts: tuple[str, ...],
    tags: tuple[str, ...],
    everything: bool,
    soft: bool,
    state_dir: Path,
    as_json: bool,
) -> None:
    """Make the cache forget stored responses.

    Write each URL as clients ask for it, with scheme, host and port. All its variants (languages, codings)
    go. The next request for it goes to the origin. Tags are those the origin sends in Cache-Tag,
    Surrogate-Key or xkey.

    Example: edgecluster purge http://127.0.0.1:8080/page
    """
    given = {"url": urls, "prefix": prefixes, "host": hosts, "tag": tags, "all": ("",) if everything else ()}
    kinds = [kind for kind, targets in given.items() if targets]
    if len(kinds) != 1:
        raise click.UsageError(f"name what to purge, in one of the ways {', '.join(_KINDS.values())}")
    [kind] = kinds
    target: object = True if kind == "all" else list(given[kind])
    said = ask_admin(state_dir, "POST", "/purge", {kind: target, "soft": soft})
    answer(as_json, _purge_lines(said), {name: value for name, value in said.items() if name != "ok"})


def _purge_lines(said: Mapping[str, Any]) -> str:
    done = "made stale" if said["soft"] else "purged"
    if said["kind"] == "all":
        return f"{done} everything"
    what = "" if said["kind"] == "url" else f"{said['kind']} "
    return "\n".join(
        f"{'was not stored' if found is False else done}: {what}{target}"
        for target, found in said["purged"].items()
    )


@click.group("cache")
def cache() -> None:
    """Look into the cache: what is stored, and until when."""


@cache.command("ls")
@click.option("--prefix", metavar="URL", default="", help="Only URLs that begin like this one.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="At most so many.",
)
@state_dir_option
@json_option
def cache_ls(prefix: str, limit: int, state_dir: Path, as_json: bool) -> None:
    """List stored responses: size, verdict, time left, URL."""
    query = urlencode({"prefix": prefix, "limit": limit})
    said = ask_admin(state_dir, "GET", f"/cache/entries?{query}")
    lines = [
        f"{show_size(entry['size']):>10}  {entry['verdict']:<22}  {_left(entry):>8}  {entry['url']}"
        f"{'  (variant)' if entry['variant'] else ''}"
        for entry in said["entries"]
    ]
    if said["more"]:
        lines.append(f"and more: --limit shows more than {limit}")
    text = "\n".join(lines) or "nothing is stored"
    answer(as_json, text, {"entries": said["entries"], "more": said["more"]})


@cache.command("get")
@click.argument("url")
@state_dir_option
@json_option
def cache_get(url: str, state_dir: Path, as_json: bool) -> None:
    """Show what is stored for a URL, every variant of it."""
    said = ask_admin(state_dir, "GET", f"/cache/entry?{urlencode({'url': url})}")
    said.pop("ok")
    answer(as_json, "\n".join(_entry_lines(said)), said)


@cache.command("stats")
@state_dir_option
@json_option
def cache_stats(state_dir: Path, as_json: bool) -> None:
    """Show how full the cache is, and what it has done."""
    said = ask_admin(state_dir, "GET", "/cache/stats")
    held, core = said["cache"], said["core"]
    held["bytes_per_object"] = held["bytes_stored"] // max(1, held["objects"])
    answer(as_json, "\n".join(_stats_lines(held, core)), {"cache": held, "core": core})


def _left(entry: Mapping[str, Any]) -> str:
    """How long it is fresh, or has been stale."""
    return duration(entry["ttl_s"]) if entry["ttl_s"] >= 0 else f"-{duration(-entry['ttl_s'])}"


def _entry_lines(said: Mapping[str, Any]) -> list[str]:
    lines = [said["url"]]
    if said["vary"]:
        lines.append(f"  varies by {', '.join(said['vary'])}")
    if said["hit_for_miss"]:
        lines.append("  remembered as not storable: its requests do not wait for each other")
    lines += [response_line(entry) for entry in said["responses"]]
    return lines if len(lines) > 1 else [f"nothing is stored for {said['url']}"]


def response_line(entry: Mapping[str, Any]) -> str:
    """One stored response for people, as the admin API tells of it."""
    ttl_s = entry["ttl_s"]
    fresh = f"fresh for {duration(ttl_s)}" if ttl_s >= 0 else f"stale for {duration(-ttl_s)}"
    windows = (
        f"then stale-while-revalidate {duration(entry['stale_while_revalidate_s'])}, "
        f"stale-if-error {duration(entry['stale_if_error_s'])}"
    )
    what = (
        f"{entry['status']}, {show_size(entry['size'])}, age {duration(entry['age_s'])}, {entry['verdict']}"
    )
    return f"  {what}: {fresh}, {windows}; kept for {duration(entry['keep_s'])}; {entry['tags']} tags"


def _stats_lines(held: Mapping[str, int], core: Mapping[str, int]) -> list[str]:
    def counts(*names: str) -> str:
        return ", ".join(f"{core[name]:,} {name.replace('_', ' ')}" for name in names)

    stored, each = show_size(held["bytes_stored"]), show_size(held["bytes_per_object"])
    pages = f"{held['pages_used']:,} of {held['pages_total']:,} pages"
    removed = ("evicted_small", "evicted_large", "evicted_index", "expired", "purged", "damaged")
    endings = ", ".join(f"{core[f'leases_{end}']:,} {end.replace('_', ' ')}" for end in _ENDINGS)
    return [
        f"objects   {held['objects']:,}, {stored}, {each} each",
        f"room      {pages}, {held['entries_used']:,} of {held['entries_total']:,} entries",
        f"looked up {counts('hits_small', 'hits_large', 'misses')}",
        f"stored    {counts('stores_small', 'stores_large', 'no_room', 'not_admitted')}",
        f"removed   {counts(*removed)}",
        f"leases    {core['leases_claimed']:,} claimed; ended as {endings}",
    ]


_ENDINGS = ("published", "not_storable", "failed", "owner_died", "too_slow")
