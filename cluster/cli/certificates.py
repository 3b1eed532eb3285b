"""`cert`: the certificates that are served, renewing them, and trusting the local authority."""

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import rich_click as click

from cluster.certificates import authority_file
from cluster.cli.admin import ask_admin, ask_supervisor
from cluster.cli.options import json_option, state_dir_option
from cluster.cli.output import answer
from cluster.errors import BootError

RENEW_S = 600.0


@click.group("cert")
def cert() -> None:
    """Look at certificates, renew those from an authority, trust the local one."""


@cert.command("ls")
@state_dir_option
@json_option
def cert_ls(state_dir: Path, as_json: bool) -> None:
    """List every certificate that is served or waited for."""
    certificates = ask_admin(state_dir, "GET", "/certificates")["certificates"]
    text = "\n".join(map(certificate_line, certificates)) or "none: nothing listens on https://"
    answer(as_json, text, {"certificates": certificates})


@cert.command("show")
@click.argument("name")
@state_dir_option
@json_option
def cert_show(name: str, state_dir: Path, as_json: bool) -> None:
    """Show all there is to know of one certificate."""
    certificates = ask_admin(state_dir, "GET", "/certificates")["certificates"]
    found = [one for one in certificates if name == one["name"] or name in one["names"]]
    if not found:
        names = ", ".join(one["name"] for one in certificates) or "none"
        raise BootError(f"there is no certificate for {name}; there are: {names}")
    text = "\n".join(f"{key:<10} {_shown(key, value)}" for key, value in found[0].items())
    answer(as_json, text, {"certificate": found[0]})


@cert.command("renew")
@click.argument("name", required=False, default="")
@state_dir_option
@json_option
def cert_renew(name: str, state_dir: Path, as_json: bool) -> None:
    """Get a new certificate from the authority now, for NAME or for all names that have theirs from one."""
    target = f"/certificates/renew?{urlencode({'name': name})}"
    certificates = ask_admin(state_dir, "POST", target, timeout_s=RENEW_S)["certificates"]
    answer(as_json, "\n".join(map(certificate_line, certificates)), {"certificates": certificates})


@cert.command("rotate")
@state_dir_option
@json_option
def cert_rotate(state_dir: Path, as_json: bool) -> None:
    """Seal TLS session tickets with a new key from now on. The two before it still open those they sealed."""
    ask_supervisor(state_dir, "rotate")
    answer(as_json, "session tickets are sealed with a new key", {})


@cert.command("trust")
@state_dir_option
@json_option
def cert_trust(state_dir: Path, as_json: bool) -> None:
    """Tell how to trust the local authority on this machine. Changes nothing."""
    path = authority_file(state_dir)
    if not path.exists():
        raise BootError(
            f"there is no local authority in {state_dir}: it is made when the edge first needs one"
        )
    file = shlex.quote(str(path))
    text = f"""The local authority's certificate is {path}. Whoever trusts it trusts all that its key signs.
One program:      curl --cacert {file} https://localhost/
Debian, Ubuntu:   sudo cp {file} /usr/local/share/ca-certificates/edgecluster.crt
                  sudo update-ca-certificates
Fedora, RHEL:     sudo trust anchor {file}
Firefox, Chrome:  import it among the authorities in the certificate settings"""
    answer(as_json, text, {"certificate": str(path)})


def certificate_line(one: Mapping[str, Any]) -> str:
    """A certificate in one line: for whom, from whom, until when, and what is wrong."""
    if one["expires_s"] is None:
        line = f"waiting for certificate: {one['name']}"
    else:
        line = f"{', '.join(one['names']) or one['name']}: {one['kind']}, until {_moment(one['expires_s'])}"
    if one["error"]:
        line += f"; {one['error']}"
    if one["next_s"] is not None:
        line += f"; next try {_moment(one['next_s'])}"
    return line


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _shown(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if key.endswith("_s"):
        return "-" if value is None else _moment(value)
    return str(value) or "-"
