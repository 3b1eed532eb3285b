"""`purge`: making the cache forget."""

from pathlib import Path

import rich_click as click

from cluster.cli.admin import ask_admin
from cluster.cli.options import json_option, state_dir_option
from cluster.cli.output import answer


@click.command("purge")
@click.argument("urls", metavar="URL...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Forget everything that is stored.")
@state_dir_option
@json_option
def purge(urls: tuple[str, ...], everything: bool, state_dir: Path, as_json: bool) -> None:
    """Make the cache forget stored responses.

    Write each URL as clients ask for it, with scheme, host and port. All its variants (languages, codings)
    go. The next request for it goes to the origin.

    Example: edgecluster purge http://127.0.0.1:8080/page
    """
    if everything == bool(urls):
        raise click.UsageError("name the URLs to purge, or --all for everything")
    result = ask_admin(state_dir, "POST", "/purge", {"all": True} if everything else {"urls": list(urls)})
    if everything:
        answer(as_json, "purged everything", {"all": True})
        return
    lines = [f"{'purged' if found else 'was not stored'}: {url}" for url, found in result["urls"].items()]
    answer(as_json, "\n".join(lines), {"urls": result["urls"]})
