"""The command line: one file per family of verbs. `main` turns every outcome into an exit code.

0: done. 1: it failed, and the message says why. 2: what was asked for cannot be meant.
"""

import sys
from collections.abc import Sequence

import rich_click as click

from cluster.cli.about import version
from cluster.cli.bans import ban, bans, unban
from cluster.cli.caching import cache, purge
from cluster.cli.certificates import cert
from cluster.cli.checking import check
from cluster.cli.demo import run_demo
from cluster.cli.explain import explain_verb
from cluster.cli.output import failure
from cluster.cli.running import reload, status, stop
from cluster.cli.serving import start
from cluster.cli.waf import waf
from cluster.errors import BootError, UsageError

__all__ = ["edgecluster", "main"]


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.rich_config({"theme": "default-nu", "force_terminal": None, "width": 100})
@click.pass_context
def edgecluster(context: click.RichContext) -> None:
    """A caching edge for every core of this machine.

    New here? `edgecluster run-demo` starts it in front of a small site and tells what to try.
    `edgecluster start --to URL` puts it in front of yours.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for verb in (
    start,
    run_demo,
    check,
    reload,
    stop,
    status,
    purge,
    cache,
    ban,
    unban,
    bans,
    waf,
    explain_verb,
    cert,
    version,
):
    edgecluster.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name); its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in given
    try:
        result = edgecluster.main(given, prog_name="edgecluster", standalone_mode=False)
    except BootError as error:
        return failure(as_json, str(error), error.exit_code)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "edgecluster"
        text = f"{error.format_message().rstrip('.')} (see '{where} --help')"
        return failure(as_json, text, UsageError.exit_code)
    except click.ClickException as error:
        return failure(as_json, error.format_message(), BootError.exit_code)
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0
