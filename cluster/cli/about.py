"""`version`: what is installed here."""

import platform

import rich_click as click

from cluster.cli.options import json_option
from cluster.cli.output import answer
from cluster.version import VERSION


@click.command("version")
@json_option
def version(as_json: bool) -> None:
    """Show the version of edgecluster and of Python."""
    python, machine = platform.python_version(), platform.machine()
    text = f"edgecluster {VERSION} (Python {python}, Linux {platform.release()}, {machine})"
    answer(as_json, text, {"version": VERSION, "python": python, "machine": machine})
