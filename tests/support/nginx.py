"""Debian's nginx as an origin: a real tree of files, by HTTP/1.1 or by HTTP/2 with prior knowledge.

with nginx(tmp_path, http2=True) as (url, site):
    (site / "page").write_bytes(b"...")
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port

CONFIG = """
daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 1; {user}
events {{ worker_connections 256; }}
http {{
    access_log {root}/access.log; keepalive_requests 7; client_max_body_size 1m;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port} {http2};
        root {root}/site;
        location /list/ {{ autoindex on; alias {root}/site/; }}
        location /upload {{ dav_methods PUT; create_full_put_path on; }}
        location /fresh/ {{ add_header Cache-Control max-age=600; alias {root}/site/; }}
        location /stale/ {{ add_header Cache-Control max-age=0; alias {root}/site/; }}
    }}
}}
"""


@contextmanager
def nginx(root: Path, *, http2: bool = False) -> Iterator[tuple[str, Path]]:
    """Its URL and the directory it serves; a connection takes seven requests. Skips where there is none."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: apt install nginx)")
    site = root / "site"
    site.mkdir()
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(
        CONFIG.format(root=root, port=port, user=user, http2="http2" if http2 else "")
    )
    process = subprocess.Popen([program, "-e", str(root / "error.log"), "-c", str(root / "nginx.conf")])
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, (root / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}", site
    finally:
        process.terminate()
        process.wait(30)
