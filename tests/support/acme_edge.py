"""An edge that gets its certificates from an authority: its settings, and what it says of them."""

import os
from pathlib import Path
from typing import Any

from cluster.cli.admin import ask_admin
from cluster.config import Flags, load
from cluster.settings import ClusterSettings
from tests.support.acme_front import Front
from tests.support.cluster import Cluster
from tests.support.pebble import Pebble


def acme_settings(
    folder: Path,
    authority: Pebble | Front,
    *,
    to: str,
    domains: tuple[str, ...],
    listen: tuple[str, ...],
    no_https_redirect: bool = False,
) -> ClusterSettings:
    """Two workers with a state directory in `folder`, set up by nothing but flags."""
    flags = Flags(
        to=to,
        domains=domains,
        listen=listen,
        workers="2",
        cache_memory="64MiB",
        log="",
        state_dir=os.fspath(folder / "state"),
        acme_directory=authority.directory,
        acme_ca_file=os.fspath(authority.ca_file),
        no_https_redirect=no_https_redirect,
    )
    return load(None, flags)


def certificates(edge: Cluster) -> dict[str, dict[str, Any]]:
    """What the edge says of each of its certificates, by name."""
    found = ask_admin(edge.settings.state_dir, "GET", "/certificates")["certificates"]
    return {one["name"]: one for one in found}
