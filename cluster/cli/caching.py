"""`purge`: making the cache forget."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich_click as click

from cluster.cli.admin import ask_admin
from cluster.cli.options import json_option, state_dir_option
from cluster.cli.output import answer

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
