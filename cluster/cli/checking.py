"""`check`: would it start?"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import rich_click as click

from cluster.cli.options import flags_of, json_option, serving_options
from cluster.cli.output import level, say
from cluster.config import json_schema, load


@click.command("check")
@serving_options
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the config file, for editors.")
@json_option
@click.pass_context
def check(
    context: click.RichContext, /, config_path: Path | None, schema: bool, as_json: bool, **flags: Any
) -> None:
    """Look at everything `start` would need, without starting.

    The configuration, certificates and keys, the state directory, addresses, memory, and the names of the
    origins. Ends with 0 when the edge would start, 1 when not, 2 when the configuration is wrong.

    Example: edgecluster check --config edge.yaml
    """
    if schema:
        say(json.dumps(json_schema(), indent=2))
        return
    from cluster.config.check import Finding, findings

    settings = load(config_path, flags_of(**flags))
    routes = sum(len(site.routes) for site in settings.worker.sites)
    what = config_path or "flags"
    counts = f"{_count(len(settings.worker.sites), 'site')}, {_count(routes, 'route')}"
    found = [Finding("ok", "configuration", f"{what}: {counts}, {_count(settings.workers, 'worker')}")]
    found += findings(settings)
    would_start = all(finding.level != "error" for finding in found)
    if as_json:
        say(json.dumps({"ok": would_start, "findings": [dataclasses.asdict(finding) for finding in found]}))
    else:
        for finding in found:
            say(f"{level(finding.level)} {finding.subject:<15} {finding.message}")
        say("it would start" if would_start else "it would not start")
    context.exit(0 if would_start else 1)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
