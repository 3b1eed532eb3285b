"""Configuration: one YAML file or a few flags in, checked settings out.

`load` is the whole of it: read the file (positions kept), lay the flags over it, check the shape and
the rules between parts, build the settings. Every fault found is reported, each where it stands.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.config.build import cluster_settings
from cluster.config.document import Document, Location, read
from cluster.config.faults import Faults
from cluster.config.paths import absolute, default_state_dir
from cluster.config.rules import broken_rules
from cluster.config.sections.top import Config
from cluster.config.units import directory, is_directory
from cluster.errors import UsageError
from cluster.settings import ClusterSettings

__all__ = ["Flags", "default_state_dir", "json_schema", "load"]


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says, as written there. Whatever is given wins over the file."""

    to: str | None = None
    domains: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    workers: str | None = None
    cache_memory: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    admin: str | None = None
    log: str | None = None
    state_dir: str | None = None
    email: str | None = None
    acme_directory: str | None = None
    acme_ca_file: str | None = None
    acme_challenge: str | None = None
    no_https_redirect: bool = False
    waf: str | None = None


NO_FLAGS = Flags()


def load(
    path: Path | None, flags: Flags = NO_FLAGS, environment: Mapping[str, str] = os.environ
) -> ClusterSettings:
    """The settings of the file at `path` (None: no file) under `flags`.

    Raises UsageError with every fault: `file:line:column: what is wrong and what was expected`, or the
    flag's name in place of the position.
    """
    if path is None and flags.to is None:
        raise UsageError("nothing to serve: give --to URL, or --config FILE")
    document = read(path, environment) if path is not None else Document()
    laid_over = lay_over(document.tree, flags)
    faults = Faults(document, str(path), laid_over)
    try:
        config = Config.model_validate(document.tree)
    except ValidationError as error:
        faults.invalid(error)
        faults.raise_if_any()
        raise
    for location, message in broken_rules(config):
        faults.add(location, message)
    faults.raise_if_any()
    where = path.absolute() if path is not None else None
    return cluster_settings(config, where.parent if where else Path.cwd(), where)


def lay_over(tree: dict[str, Any], flags: Flags) -> dict[Location, str]:
    """Write the flags into the tree of a file; which parts of it came from which flag."""
    here = Path.cwd()
    flagged: dict[Location, str] = {}

    def put(location: Location, value: object, flag: str) -> None:
        *outer, last = location
        section = tree
        for key in outer:
            inner = section.get(str(key))
            section[str(key)] = section = dict(inner) if isinstance(inner, dict) else {}
        section[str(last)] = value
        flagged[location] = flag

    if bool(flags.tls_certificate) != bool(flags.tls_key):
        raise UsageError("--tls-cert and --tls-key go together: a certificate is of no use without its key")
    if flags.no_https_redirect and flags.to is None:
        raise UsageError(
            "--no-https-redirect goes with --to URL; in a config file, write 'https_only: false'"
        )
    if flags.domains and flags.to is None:
        raise UsageError("--domain goes with --to URL; in a config file, write the names under 'hosts'")
    if flags.to is not None:
        to = str(absolute(directory(flags.to), here)) if is_directory(flags.to) else flags.to
        plain = {"https_only": False} if flags.no_https_redirect else {}
        put(("sites",), [{"origin": {"url": to}, "hosts": list(flags.domains), **plain}], "--to")
        flagged = {("sites", 0, "hosts"): "--domain", **flagged}
    if flags.listen:
        put(("listen",), list(flags.listen), "--listen")
    if flags.workers is not None:
        put(("workers",), int(flags.workers) if flags.workers.isdecimal() else flags.workers, "--workers")
    if flags.cache_memory is not None:
        put(("cache", "memory"), flags.cache_memory, "--cache-memory")
    if flags.tls_certificate and flags.tls_key:
        pair = {"certificate": flags.tls_certificate, "key": flags.tls_key}
        if isinstance(given := tree.get("tls"), dict):
            tree["tls"] = {key: value for key, value in given.items() if key not in pair}
        files = {name: str(absolute(file, here)) for name, file in pair.items()}
        put(("tls", "certificates"), [files], "--tls-cert")
    if flags.admin is not None:
        put(("admin",), flags.admin, "--admin")
    if flags.waf is not None:
        put(("waf", "mode"), flags.waf, "--waf")
    if flags.log is not None:
        put(("log", "path"), flags.log if flags.log in ("-", "") else str(absolute(flags.log, here)), "--log")
    if flags.state_dir is not None:
        put(("state_dir",), str(absolute(flags.state_dir, here)), "--state-dir")
    if flags.email is not None or flags.acme_directory is not None:
        put(("acme", "agree"), True, "--email or --acme-directory")
    if flags.email is not None:
        put(("acme", "email"), flags.email, "--email")
    if flags.acme_directory is not None:
        put(("acme", "directory"), flags.acme_directory, "--acme-directory")
    if flags.acme_ca_file is not None:
        put(("acme", "ca_file"), str(absolute(flags.acme_ca_file, here)), "--acme-ca-file")
    if flags.acme_challenge is not None:
        put(("acme", "challenge"), flags.acme_challenge, "--acme-challenge")
    return flagged


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for editors and other tools."""
    schema = {key: _readable(value) for key, value in Config.model_json_schema().items()}
    return {
        **schema,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgecluster configuration",
    }


def _readable(node: Any) -> Any:
    """Without generated titles, and without defaults in numbers where the file has a text with a unit."""
    if isinstance(node, list):
        return [_readable(item) for item in node]
    if not isinstance(node, dict):
        return node
    default = node.get("default")
    unfit = isinstance(default, dict) or (node.get("type") == "string" and not isinstance(default, str))
    unwanted = {"title"} if isinstance(node.get("title"), str) else set()
    unwanted |= {"default"} if unfit else set()
    return {key: _readable(value) for key, value in node.items() if key not in unwanted}
