"""Against a real server: Debian's nginx with a real tree of files."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.origin_client import Upload, context, fetching, read_all, run
from worker.fields import Fields

CONFIG = """
daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 1; {user}
events {{ worker_connections 256; }}
http {{
    access_log off; keepalive_requests 7; client_max_body_size 1m;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root}/site;
        location /list/ {{ autoindex on; alias {root}/site/; }}
        location /upload {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: apt install nginx)")
    root = tmp_path_factory.mktemp("nginx")
    site = root / "site"
    site.mkdir()
    for size in (0, 1, 1000, 65536, 65537, 300_000, 5_000_000):
        (site / f"{size}.bin").write_bytes(bytes(range(251)) * (size // 251) + b"~" * (size % 251))
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(CONFIG.format(root=root, port=port, user=user))
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


def test_every_file_arrives_unchanged(nginx):
    url, site = nginx
    files = {path.name: path.read_bytes() for path in site.glob("*.bin")}

    async def main():
        async with fetching(url) as fetch:

            async def one(name: str) -> None:
                response = await fetch(context(path=f"/{name}".encode()))
                assert response.status == 200
                assert response.length == len(files[name])
                assert await read_all(response.body) == files[name]
                assert b"connection" not in response.fields
                assert b"content-length" not in response.fields
                assert response.fields.get(b"etag")

            for _ in range(4):  # keepalive_requests closes connections on the way
                await asyncio.gather(*(one(name) for name in files))
                for name in files:
                    await one(name)

    run(main())


def test_conditions_ranges_and_head(nginx):
    url, _ = nginx

    async def main():
        async with fetching(url) as fetch:
            first = await fetch(context(path=b"/1000.bin"))
            etag = first.fields.get(b"etag")
            assert etag is not None
            again = await fetch(context(path=b"/1000.bin"), Fields.of([(b"If-None-Match", etag)]))
            assert (again.status, again.body) == (304, None)
            ranged = await fetch(context(path=b"/1000.bin", fields=[(b"Range", b"bytes=10-19")]))
            assert (ranged.status, ranged.length) == (206, 10)
            head = await fetch(context(b"HEAD", b"/300000.bin"))
            assert (head.status, head.body, head.length) == (200, None, 300_000)
            missing = await fetch(context(path=b"/none"))
            assert missing.status == 404

    run(main())


def test_a_listing_comes_chunked(nginx):
    url, _ = nginx

    async def main():
        async with fetching(url) as fetch:
            response = await fetch(context(path=b"/list/"))
            assert b"5000000.bin" in await read_all(response.body)
            assert b"transfer-encoding" not in response.fields

    run(main())


@pytest.mark.parametrize("length", [700_000, None], ids=["counted", "chunked"])
def test_an_upload_arrives_unchanged(nginx, length):
    url, site = nginx
    data = os.urandom(700_000)

    async def main():
        async with fetching(url) as fetch:
            upload = Upload([data[at : at + 9999] for at in range(0, len(data), 9999)], length)
            response = await fetch(context(b"PUT", f"/upload/{length}".encode(), body=upload))
            assert response.status == 201
            assert len(fetch.pool.idle) == 1

    run(main())
    assert (site / "upload" / str(length)).read_bytes() == data


def test_an_upload_that_is_too_large_is_answered_early(nginx):
    url, _ = nginx

    async def main():
        async with fetching(url) as fetch:
            upload = Upload((bytes(65536) for _ in range(4096)), 65536 * 4096)
            response = await fetch(context(b"PUT", b"/upload/large", body=upload))
            assert response.status == 413
            assert upload.read_bytes < 65536 * 4096

    run(main())
