"""A whole edge from a configuration file: what tests of settings that reach through every part drive.

with configured_edge(tmp_path, "sites: [{origin: ./public}]") as edge:
    edge.ask("/page")
"""

import asyncio
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.cli.admin import ask_admin
from cluster.config import load
from cluster.settings import ClusterSettings
from tests.support.client import Answer
from tests.support.cluster import Cluster
from tests.support.versions import NAME, Ends, ask_over

Reloaded = dict[str, Any]

_USUAL = {
    "listen": "[http://127.0.0.1:0, https://127.0.0.1:0]",
    "http2": "{plain: true}",
    "workers": "2",
    "cache": "{memory: 64MiB}",
    "log": "{path: ''}",
    "state_dir": "state",
    "waf": "off",
}


class ConfiguredEdge:
    """Every request comes on a connection of its own, so either worker may get it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory
        self.ends = Ends.of(cluster.urls)
        self.over = "h1"

    def by(self, version: str) -> "ConfiguredEdge":
        """The same edge, asked over another one of `versions.VERSIONS`."""
        other = copy.copy(self)
        other.over = version
        return other

    def ask(self, path: str, *fields: str, method: str = "GET", name: str = NAME) -> Answer:
        """One request with these field lines, for the site `name`."""
        lines = "".join(f"{line}\r\n" for line in fields)
        return asyncio.run(ask_over(self.over, self.ends, path, fields=lines, method=method, name=name))

    def purge(self) -> None:
        """Empty the cache."""
        ask_admin(self.cluster.settings.state_dir, "POST", "/purge", {"all": True})

    def reload(self, text: str) -> Reloaded:
        """Serve by another configuration; what the supervisor says to that."""
        return self.cluster.reload(_settings(self.directory, text))


@contextmanager
def configured_edge(directory: Path, text: str) -> Iterator[ConfiguredEdge]:
    """An edge by this configuration, whose file lies in `directory`."""
    with Cluster(_settings(directory, text)) as cluster:
        yield ConfiguredEdge(cluster, directory)


def _settings(directory: Path, text: str) -> ClusterSettings:
    """What the file says, and for what it leaves out at its top, what is usual in tests."""
    said = {line.partition(":")[0] for line in text.splitlines()}
    usual = "".join(f"{key}: {value}\n" for key, value in _USUAL.items() if key not in said)
    file = directory / "edge.yaml"
    file.write_text(usual + text)
    return load(file)
