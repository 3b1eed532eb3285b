"""A real ACME authority for tests: Debian's pebble with pebble-challtestsrv as its DNS, on loopback.

with pebble(tmp_path, http_port=8080) as authority:
    authority.directory, authority.ca_file
"""

import json
import os
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trustme

from tests.support.cluster import wait_until
from tests.support.ports import free_port


class Pebble:
    """A running or stopped authority; started again it knows neither accounts nor orders."""

    def __init__(self, folder: Path, http_port: int, tls_port: int = 0, **config: Any) -> None:
        """`config` is laid over pebble's own."""
        self.folder = folder
        folder.mkdir()
        self.port, self._management, self._dns, self._dns_management = (free_port() for _ in range(4))
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        self.ca_file = folder / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(os.fspath(self.ca_file))
        leaf = authority.issue_cert("127.0.0.1")
        leaf.private_key_pem.write_to_path(os.fspath(folder / "key.pem"))
        (folder / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": os.fspath(folder / "cert.pem"),
            "privateKey": os.fspath(folder / "key.pem"),
            "httpPort": http_port,
            "tlsPort": tls_port or free_port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "domainBlocklist": ["blocked.test"],
            "retryAfter": {"authz": 1, "order": 1},
            **config,
        }
        (folder / "config.json").write_text(json.dumps({"pebble": config}))
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, **environment: str) -> None:
        """Start it; it validates at once and refuses some nonces."""
        self._log = (self.folder / "log").open("ab")
        dns = f"127.0.0.1:{self._dns}"
        commands = [
            ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", dns,
             "-http01", "", "-https01", "", "-tlsalpn01", "",
             "-management", f"127.0.0.1:{self._dns_management}"],
            ["pebble", "-config", os.fspath(self.folder / "config.json"), "-dnsserver", dns],
        ]  # fmt: skip
        env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "10", **environment}
        self._running = [
            subprocess.Popen(command, env=env, stdout=self._log, stderr=self._log) for command in commands
        ]
        trust = ssl.create_default_context(cafile=os.fspath(self.ca_file))

        def answers() -> bool:
            with suppress(OSError):
                with urllib.request.urlopen(self.directory, context=trust):
                    return True
            assert self._running[1].poll() is None, self.log
            return False

        wait_until(answers)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        if self._running:
            self._log.close()
        self._running = []


@contextmanager
def pebble(folder: Path, http_port: int, tls_port: int = 0, **config: Any) -> Iterator[Pebble]:
    """A running authority that asks for challenges on these ports."""
    authority = Pebble(folder / "pebble", http_port, tls_port, **config)
    try:
        authority.start()
        yield authority
    finally:
        authority.stop()
