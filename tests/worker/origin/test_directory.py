"""A directory as an origin: what is served, what never is, and how a file is read."""

import asyncio
import os
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.cluster import wait_until
from tests.support.contexts import make_context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Response
from worker.origin.directory import DirectoryFetch
from worker.origin.files import PIECE_BYTES, FileBody
from worker.settings import DirectorySettings

LARGE = bytes(range(256)) * 4096  # 1 MiB
Result = TypeVar("Result")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with a bit of everything, and secrets beside it."""
    root = tmp_path / "site"
    (root / "docs").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / ".git").mkdir()
    (root / ".well-known" / ".git").mkdir(parents=True)
    (root / "index.html").write_text("<h1>home</h1>")
    (root / "docs" / "index.html").write_text("docs")
    (root / "a b&ä.txt").write_text("spaced")
    (root / "large.bin").write_bytes(LARGE)
    (root / "none.txt").write_bytes(b"")
    for secret in (".env", ".git/config", ".well-known/.git/config", "../secret.txt"):
        (root / secret).write_text("secret")
    (root / ".well-known" / "security.txt").write_text("public")
    (root / "inside.txt").symlink_to("docs/index.html")
    (root / "docs" / "up.txt").symlink_to("../index.html")
    (root / "outside.txt").symlink_to("../secret.txt")
    (root / "absolute.txt").symlink_to(tmp_path / "secret.txt")
    (root / "outside").symlink_to("..")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    return root


def within(root: Path, work: Callable[[DirectoryFetch], Awaitable[Result]], **settings: object) -> Result:
    """What `work` makes of a fetch stage for `root`."""

    async def run() -> Result:
        fetch = DirectoryFetch(DirectorySettings(str(root), **settings))  # type: ignore[arg-type]
        try:
            return await work(fetch)
        finally:
            fetch.close()

    return asyncio.run(run())


def asked(
    root: Path,
    path: bytes,
    *lines: tuple[bytes, bytes],
    method: bytes = b"GET",
    query: bytes | None = None,
    target: bytes | None = None,
    **settings: object,
) -> tuple[Response, bytes]:
    """The answer, and its whole body."""
    ctx = make_context(*lines, method=method, path=path, query=query)
    ctx.origin_target = target

    async def work(fetch: DirectoryFetch) -> tuple[Response, bytes]:
        response = await fetch(ctx)
        assert (ctx.origin, ctx.forwarded_status) == (f"file://{root}", response.status)
        return response, await whole(response)

    return within(root, work, **settings)


async def whole(response: Response) -> bytes:
    body = response.body
    if body is None or isinstance(body, bytes):
        return body or b""
    assert isinstance(body, FileBody)
    read = b""
    while piece := await body.read():
        assert len(piece) <= PIECE_BYTES
        read += piece
    body.close()
    return read


SERVED = [
    (b"/", b"<h1>home</h1>", b"text/html; charset=utf-8"),
    (b"/index.html", b"<h1>home</h1>", b"text/html; charset=utf-8"),
    (b"/docs/", b"docs", b"text/html; charset=utf-8"),
    (b"/a%20b&%C3%A4.txt", b"spaced", b"text/plain; charset=utf-8"),
    (b"/large.bin", LARGE, b"application/octet-stream"),
    (b"/none.txt", b"", b"text/plain; charset=utf-8"),
    (b"/inside.txt", b"docs", b"text/plain; charset=utf-8"),
    (b"/docs/up.txt", b"<h1>home</h1>", b"text/plain; charset=utf-8"),
    (b"/.well-known/security.txt", b"public", b"text/plain; charset=utf-8"),
]


@pytest.mark.parametrize(("path", "content", "kind"), SERVED)
def test_files_are_served(root: Path, path: bytes, content: bytes, kind: bytes) -> None:
    response, body = asked(root, path)
    assert (response.status, body, response.length) == (200, content, len(content))
    assert response.fields.get(b"content-type") == kind
    assert response.fields.get(b"accept-ranges") == b"bytes"


NOT_SERVED = [
    b"/missing", b"/index.html/", b"/index.html/x", b"/empty/", b"/docs/missing",
    b"/.env", b"/.git/config", b"/.git/", b"/.git", b"/docs/.env", b"/.well-known/.git/config", b"/%2Eenv",
    b"/outside.txt", b"/absolute.txt", b"/outside/secret.txt", b"/outside", b"/loop", b"/fifo", b"/socket",
    b"/../secret.txt", b"/docs/../../secret.txt", b"/..", b"/..%2Fsecret.txt", b"/%2E%2E/secret.txt",
    b"/docs%2Findex.html", b"/%00", b"/index.html%00.txt", b"//index.html", b"/docs//index.html",
    b"/" + b"x" * 300, b"/" + b"x/" * 3000, b"*", b"",
]  # fmt: skip


@pytest.mark.parametrize("path", NOT_SERVED)
def test_what_is_not_there_or_not_for_others_is_a_404(
    root: Path, path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as special:
        monkeypatch.chdir(root)  # such names are short
        special.bind("socket")
        response, body = asked(root, path)
    assert (response.status, body) == (404, b"404 Not Found\n")


def test_a_file_that_may_not_be_read_is_a_403() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own is for its user only
        os.chmod(name, 0o755)
        (Path(name) / "index.html").touch(0)
        me = os.geteuid()
        if me == 0:  # may read everything
            os.seteuid(65534)
        try:
            assert asked(Path(name), b"/index.html")[0].status == 403
        finally:
            os.seteuid(me)


def test_a_directory_without_its_slash_is_redirected(root: Path) -> None:
    response, _ = asked(root, b"/docs")
    assert (response.status, response.fields.get(b"location")) == (301, b"/docs/")
    assert asked(root, b"/docs", query=b"a=1")[0].fields.get(b"location") == b"/docs/?a=1"


def test_the_first_index_file_there_is_stands_for_its_directory(root: Path) -> None:
    index = ("start.html", "index.html", "none.txt")
    assert asked(root, b"/", index=index)[1] == b"<h1>home</h1>"
    (root / "start.html").write_text("start")
    assert asked(root, b"/", index=index)[1] == b"start"
    assert asked(root, b"/", index=())[0].status == 404
    (root / "docs" / "start.html").mkdir()  # is no file
    assert asked(root, b"/docs/", index=index)[1] == b"docs"


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"])
def test_other_methods_are_not_allowed(root: Path, method: bytes) -> None:
    response, _ = asked(root, b"/index.html", method=method)
    assert (response.status, response.fields.get(b"allow")) == (405, b"GET, HEAD")


def test_head_tells_what_get_would(root: Path) -> None:
    got, _ = asked(root, b"/large.bin")
    head, body = asked(root, b"/large.bin", method=b"HEAD")
    assert (head.status, head.length, head.body, body) == (200, len(LARGE), None, b"")
    assert head.fields.items() == got.fields.items()


def test_validators_name_this_very_file(root: Path) -> None:
    first = asked(root, b"/index.html")[0].fields
    assert first.get(b"etag") == asked(root, b"/")[0].fields.get(b"etag")
    os.utime(root / "index.html", ns=(0, 784111777_000000000))
    second = asked(root, b"/index.html")[0].fields
    assert second.get(b"last-modified") == b"Sun, 06 Nov 1994 08:49:37 GMT"
    os.utime(root / "index.html", ns=(0, 784111777_000000001))
    third = asked(root, b"/index.html")[0].fields
    assert third.get(b"last-modified") == second.get(b"last-modified")
    assert len({first.get(b"etag"), second.get(b"etag"), third.get(b"etag")}) == 3


def test_conditions_and_ranges_are_answered(root: Path) -> None:
    etag = asked(root, b"/large.bin")[0].fields.get(b"etag")
    assert etag is not None
    response, _ = asked(root, b"/large.bin", (b"If-None-Match", etag))
    assert (response.status, response.fields.get(b"etag"), response.body) == (304, etag, None)
    assert asked(root, b"/large.bin", (b"If-Match", b'"x"'))[0].status == 412
    response, body = asked(root, b"/large.bin", (b"Range", b"bytes=10-19"), (b"If-Range", etag))
    assert (response.status, response.length, body) == (206, 10, LARGE[10:20])
    assert response.fields.get(b"content-range") == b"bytes 10-19/1048576"
    response, body = asked(root, b"/large.bin", (b"Range", b"bytes=300000-900000"))
    assert (response.status, body) == (206, LARGE[300000:900001])
    response, _ = asked(root, b"/large.bin", (b"Range", b"bytes=1048576-"))
    assert (response.status, response.fields.get(b"content-range")) == (416, b"bytes */1048576")
    assert asked(root, b"/large.bin", (b"Range", b"bytes=0-9"), method=b"HEAD")[0].status == 200


def test_the_caches_own_conditions_count_in_place_of_the_clients(root: Path) -> None:
    etag = asked(root, b"/")[0].fields.get(b"etag") or b""

    async def work(fetch: DirectoryFetch) -> list[int]:
        ctx = make_context((b"If-None-Match", etag), (b"Range", b"bytes=0-0"), path=b"/")
        extra = Fields.of([(b"If-None-Match", etag)])
        return [
            (await fetch(ctx)).status,
            (await fetch(ctx, None, (b"if-none-match", b"range"))).status,
            (await fetch(ctx, extra, (b"if-none-match", b"range"))).status,
        ]

    assert within(root, work) == [304, 200, 304]


def test_a_rewritten_target_is_what_is_looked_for(root: Path) -> None:
    assert asked(root, b"/static/docs/", query=b"x", target=b"/docs/?x")[1] == b"docs"
    response, _ = asked(root, b"/static/docs", target=b"/docs?x")
    assert response.fields.get(b"location") == b"/docs/?x"


def test_a_moved_link_is_followed_at_once(root: Path) -> None:
    (root.parent / "current").symlink_to("site")

    async def work(fetch: DirectoryFetch) -> list[bytes]:
        before = await whole(await fetch(make_context(path=b"/")))
        (root.parent / "next").mkdir()
        (root.parent / "next" / "index.html").write_text("next")
        (root.parent / "link").symlink_to("next")
        (root.parent / "link").rename(root.parent / "current")
        return [before, await whole(await fetch(make_context(path=b"/")))]

    assert within(root.parent / "current", work) == [b"<h1>home</h1>", b"next"]


def test_a_directory_that_is_gone_is_a_broken_origin(root: Path) -> None:
    with pytest.raises(EdgeError) as caught:
        asked(root / "gone", b"/")
    assert (caught.value.status, caught.value.side) == (502, "origin")


def test_a_file_that_shrinks_while_it_is_sent_breaks_the_answer_off(root: Path) -> None:
    async def work(fetch: DirectoryFetch) -> None:
        response = await fetch(make_context(path=b"/large.bin"))
        assert isinstance(response.body, FileBody)
        assert await response.body.read() == LARGE[:PIECE_BYTES]
        os.truncate(root / "large.bin", PIECE_BYTES + 10)
        with pytest.raises(EdgeError, match="shorter"):
            await response.body.read()
        response.body.close()

    within(root, work)


def test_a_part_is_skipped_without_reading_it(root: Path) -> None:
    async def work(fetch: DirectoryFetch) -> bytes:
        response = await fetch(make_context(path=b"/large.bin"))
        assert isinstance(response.body, FileBody)
        response.body.skip(1_000_000)
        return await whole(response)

    assert within(root, work) == LARGE[1_000_000:]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_no_descriptor_is_left_whoever_gives_up_and_when(root: Path) -> None:
    async def work(fetch: DirectoryFetch) -> None:
        await fetch(make_context(path=b"/"))  # the threads and their queue are there
        before = descriptors()
        for path in (b"/", b"/docs", b"/fifo", b"/missing", b"/outside.txt"):
            await fetch(make_context(path=path))
        unread = await fetch(make_context(path=b"/large.bin"))
        assert isinstance(unread.body, FileBody)
        assert descriptors() == before + 1
        reading = asyncio.ensure_future(unread.body.read())
        await asyncio.sleep(0)
        reading.cancel()
        unread.body.close()
        unread.body.close()
        tasks = [asyncio.ensure_future(fetch(make_context(path=b"/large.bin"))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        wait_until(lambda: descriptors() == before)  # for the threads that were under way

    within(root, work)


def test_no_race_of_renames_leads_outside(root: Path) -> None:
    """A name that is a directory, a link outside, and nothing, in turns: it is the directory or nothing."""
    (root.parent / "secrets").mkdir()
    (root.parent / "secrets" / "x.txt").write_text("secret")
    (root / "real").mkdir()
    (root / "real" / "x.txt").write_text("public")
    (root / "link").symlink_to("../secrets")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for name in ("real", "link"):
                os.rename(root / name, root / "shown")
                os.rename(root / "shown", root / name)

    async def work(fetch: DirectoryFetch) -> set[bytes]:
        return {await whole(await fetch(make_context(path=b"/shown/x.txt"))) for _ in range(2000)}

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        found = within(root, work)
    finally:
        over.set()
        swapper.join()
    assert found <= {b"public", b"404 Not Found\n"}
