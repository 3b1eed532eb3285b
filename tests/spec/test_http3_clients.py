"""A whole cluster, asked over HTTP/3 by ngtcp2's client."""

import re
import subprocess

import pytest

from tests.support.caching_edge import CachingEdge
from tests.support.versions import HAS_H3

pytestmark = pytest.mark.skipif(not HAS_H3, reason="this edge does not speak HTTP/3 yet")


@pytest.fixture(scope="module")
def edge(caching_edge: CachingEdge) -> CachingEdge:
    return caching_edge.by("h3")


def gtlsclient(edge: CachingEdge, path: str, *options: str) -> str:
    """What the client tells of its requests, and of each frame; it ends when all are answered."""
    command = ["gtlsclient", "--exit-on-all-streams-close", "--sni=edge.test", *options]
    url = f"https://edge.test{path}"
    done = subprocess.run(
        [*command, "127.0.0.1", str(edge.ends.tls), url], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("loss", ["0", "0.05"])
def test_a_hundred_requests_on_one_connection_are_answered(edge: CachingEdge, loss: str) -> None:
    path = edge.serve("Cache-Control: max-age=60")
    told = gtlsclient(edge, path, "-n", "100", f"--rx-loss={loss}", f"--tx-loss={loss}")
    assert len(re.findall(r"\[:status: 200\]", told)) == 100
    assert len(edge.asked(path)) == 1
