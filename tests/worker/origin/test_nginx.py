"""Against a real server: Debian's nginx with a real tree of files, by either version of HTTP."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nginx import nginx as running_nginx
from tests.support.origin_client import Upload, context, fetching, read_all, run
from worker.fields import Fields


@pytest.fixture(scope="module", params=["http/1.1", "h2"])
def nginx(request, tmp_path_factory) -> Iterator[tuple[str, Path, str]]:
    """URL, directory, and the protocol it is to be asked by."""
    with running_nginx(tmp_path_factory.mktemp("nginx"), http2=request.param == "h2") as (url, site):
        for size in (0, 1, 1000, 65536, 65537, 300_000, 5_000_000):
            (site / f"{size}.bin").write_bytes(bytes(range(251)) * (size // 251) + b"~" * (size % 251))
        yield url, site, request.param


def test_every_file_arrives_unchanged(nginx):
    url, site, protocol = nginx
    files = {path.name: path.read_bytes() for path in site.glob("*.bin")}

    async def main():
        async with fetching(url, protocol=protocol) as fetch:

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
    url, _, protocol = nginx

    async def main():
        async with fetching(url, protocol=protocol) as fetch:
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
    url, _, protocol = nginx

    async def main():
        async with fetching(url, protocol=protocol) as fetch:
            response = await fetch(context(path=b"/list/"))
            assert b"5000000.bin" in await read_all(response.body)
            assert b"transfer-encoding" not in response.fields

    run(main())


@pytest.mark.parametrize("length", [700_000, None], ids=["counted", "chunked"])
def test_an_upload_arrives_unchanged(nginx, length):
    url, site, protocol = nginx
    data = os.urandom(700_000)

    async def main():
        async with fetching(url, protocol=protocol) as fetch:
            upload = Upload([data[at : at + 9999] for at in range(0, len(data), 9999)], length)
            response = await fetch(context(b"PUT", f"/upload/{length}".encode(), body=upload))
            assert response.status == 201
            assert fetch.in_flight() == 0

    run(main())
    assert (site / "upload" / str(length)).read_bytes() == data


def test_an_upload_that_is_too_large_is_answered_early(nginx):
    url, _, protocol = nginx

    async def main():
        async with fetching(url, protocol=protocol) as fetch:
            upload = Upload((bytes(65536) for _ in range(4096)), 65536 * 4096)
            response = await fetch(context(b"PUT", b"/upload/large", body=upload))
            assert response.status == 413
            assert upload.read_bytes < 65536 * 4096

    run(main())
