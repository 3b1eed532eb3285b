"""A whole edge from a configuration file: what tests of settings that reach through every part drive.

with configured_edge(tmp_path, "sites: [{origin: ./public}]") as edge:
    edge.ask("/page")
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from cluster.config import load
from cluster.settings import ClusterSettings
from tests.support.client import Answer, ask
from tests.support.cluster import Cluster

_USUAL = {
    "listen": "[http://127.0.0.1:0]",
    "workers": "2",
    "cache": "{memory: 64MiB}",
    "log": "{path: ''}",
    "state_dir": "state",
}


class ConfiguredEdge:
    """Every request comes on a connection of its own, so either worker may get it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory

    def ask(self, path: str, *fields: str, method: str = "GET") -> Answer:
        """One request with these field lines."""
        port = urlsplit(self.cluster.url).port
        assert port is not None
        lines = "".join(f"{line}\r\n" for line in fields)
        return asyncio.run(ask(port, path, fields=lines, method=method))

    def reload(self, text: str) -> None:
        """Serve by another configuration."""
        self.cluster.reload(_settings(self.directory, text))


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
