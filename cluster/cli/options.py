"""Options that several verbs share, and what they mean together."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import rich_click as click

from cluster.config import Flags, default_state_dir

Command = TypeVar("Command", bound=Callable[..., object])


def json_option(command: Command) -> Command:
    """`--json`: the answer as one JSON document."""
    return click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")(command)


def state_dir_option(command: Command) -> Command:
    """`--state-dir`: which running edge is meant."""
    return click.option(
        "--state-dir",
        metavar="DIR",
        type=click.Path(path_type=Path),
        default=default_state_dir,
        help=f"State directory of the edge that is meant. [default: {default_state_dir()}]",
    )(command)


def config_option(command: Command) -> Command:
    """`--config`: the file."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="YAML file with everything there is to set. Flags win over it.",
    )(command)


def serving_options(command: Command) -> Command:
    """Everything that makes the settings of an edge; `flags_of` gathers it again."""
    for option in reversed(_SERVING):
        command = option(command)
    return command


_SERVING: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--to",
        metavar="URL|DIR",
        help="The origin: where the content is, such as http://127.0.0.1:8000 or ./public.",
    ),
    click.option(
        "--domain",
        "domains",
        metavar="NAME",
        multiple=True,
        help="Host name to answer for, can be repeated; any host when not given.",
    ),
    click.option(
        "--listen",
        metavar="URL",
        multiple=True,
        help="Address to accept on, can be repeated: http://HOST:PORT or https://HOST:PORT. "
        "[default: http://127.0.0.1:8080]",
    ),
    click.option(
        "--workers",
        metavar="N|auto",
        help="Worker processes; auto is one for each usable CPU. [default: auto]",
    ),
    click.option(
        "--cache-memory",
        metavar="SIZE",
        help="Size of the shared cache, such as 512MiB. [default: 256MiB]",
    ),
    click.option("--tls-cert", "tls_certificate", metavar="FILE", help="Certificate chain for https, PEM."),
    click.option("--tls-key", metavar="FILE", help="Its private key, PEM."),
    click.option(
        "--email",
        metavar="ADDRESS",
        help="Get certificates for the domains from Let's Encrypt, whose terms you agree to by this; "
        "where it may write to.",
    ),
    click.option(
        "--acme-directory",
        metavar="URL",
        help="Get them from this authority instead, by ACME; you agree to its terms by this.",
    ),
    click.option("--acme-ca-file", metavar="FILE", help="What to trust for that authority's https, PEM."),
    click.option(
        "--acme-challenge",
        metavar="KIND",
        help="How to prove to it that a domain is ours: http-01, tls-alpn-01 or auto. [default: auto]",
    ),
    click.option(
        "--no-https-redirect",
        is_flag=True,
        help="Go on serving public domains over plain http, too, once clients trust their certificate.",
    ),
    click.option(
        "--admin",
        metavar="URL",
        help="Loopback address for /metrics, /healthz and /readyz, such as http://127.0.0.1:9180.",
    ),
    click.option(
        "--log", metavar="PATH", help='Access log; "-" is standard output, "" is none. [default: -]'
    ),
    click.option(
        "--waf",
        type=click.Choice(("off", "log", "block")),
        help="Refuse requests that look like attacks, or only log them. [default: log]",
    ),
    config_option,
    click.option(
        "--state-dir",
        metavar="DIR",
        help=f"Directory for certificates and the run socket. [default: {default_state_dir()}]",
    ),
)


def flags_of(
    *,
    to: str | None,
    domains: tuple[str, ...],
    listen: tuple[str, ...],
    workers: str | None,
    cache_memory: str | None,
    tls_certificate: str | None,
    tls_key: str | None,
    admin: str | None,
    log: str | None,
    state_dir: str | None,
    email: str | None,
    acme_directory: str | None,
    acme_ca_file: str | None,
    acme_challenge: str | None,
    no_https_redirect: bool,
    waf: str | None,
) -> Flags:
    """The serving options of one command line."""
    return Flags(
        to, domains, listen, workers, cache_memory, tls_certificate, tls_key, admin, log, state_dir,
        email, acme_directory, acme_ca_file, acme_challenge, no_https_redirect, waf,
    )  # fmt: skip
