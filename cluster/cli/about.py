"""`version`: what is installed here."""

import platform
from importlib import metadata

import rich_click as click

from cluster.cli.options import json_option
from cluster.cli.output import answer


def installed_version() -> str:
    """The version of the installed package; "unknown" in a tree that was never installed."""
    try:
        return metadata.version("edgecluster")
    except metadata.PackageNotFoundError:
        return "unknown"


@click.command("version")
@json_option
def version(as_json: bool) -> None:
    """Show the version of edgecluster and of Python."""
    own, python, machine = installed_version(), platform.python_version(), platform.machine()
    text = f"edgecluster {own} (Python {python}, Linux {platform.release()}, {machine})"
    answer(as_json, text, {"version": own, "python": python, "machine": machine})
