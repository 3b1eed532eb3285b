"""The demo origin: a process of its own whose pages say about themselves what the index promises."""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from cluster.demo.pages import BIG_BYTES, PAGES


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A running demo origin's port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "cluster.demo", "--fd", str(listening.fileno())]
        process = subprocess.Popen(command, pass_fds=[listening.fileno()])
        port = listening.getsockname()[1]
    try:
        yield port
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0


def get(port: int, path: str, method: str = "GET", **fields: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in fields.items()}
        )
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_the_index_explains_every_page(port: int) -> None:
    response, body = get(port, "/")
    assert (response.status, response.headers.get_content_type()) == (200, "text/html")
    for page in PAGES:
        assert f'<a href="{page.path}">'.encode() in body
        assert page.lesson.encode() in body


@pytest.mark.parametrize(
    ("path", "status", "cache_control"),
    [
        ("/page", 200, "public, max-age=60"),
        ("/slow", 200, "public, max-age=30"),
        ("/language", 200, "public, max-age=60"),
        ("/news", 200, "public, max-age=5"),
        ("/private", 200, "private, max-age=60"),
        ("/error", 500, "no-store"),
        ("/counts", 200, "no-store"),
        ("/nothing", 404, "public, max-age=10"),
    ],
)
def test_pages_say_how_long_they_may_be_kept(port: int, path: str, status: int, cache_control: str) -> None:
    response, body = get(port, path)
    assert (response.status, response.headers["Cache-Control"]) == (status, cache_control)
    assert int(response.headers["Content-Length"]) == len(body)


def test_the_language_page_follows_the_field_it_varies_on(port: int) -> None:
    german, german_body = get(port, "/language", Accept_Language="de-CH, en;q=0.5")
    other, other_body = get(port, "/language", Accept_Language="tlh")
    assert german.headers["Vary"] == other.headers["Vary"] == "Accept-Language"
    assert (german.headers["Content-Language"], other.headers["Content-Language"]) == ("de", "en")
    assert b"Guten Tag" in german_body
    assert b"Good day" in other_body


def test_the_news_are_revalidated_without_a_body(port: int) -> None:
    for _ in range(2):  # the minute may turn between two requests, but not twice in a row
        tag = get(port, "/news")[0].headers["ETag"]
        response, body = get(port, "/news", If_None_Match=tag)
        if response.status == 304:
            break
    assert (response.status, response.headers["ETag"], body) == (304, tag, b"")


def test_the_big_file_is_the_same_every_time(port: int) -> None:
    first, body = get(port, "/big")
    assert int(first.headers["Content-Length"]) == len(body) == BIG_BYTES
    assert first.headers["ETag"]
    assert get(port, "/big")[1] == body


def test_head_has_no_body(port: int) -> None:
    response, body = get(port, "/big", "HEAD")
    assert (response.headers["Content-Length"], body) == (str(BIG_BYTES), b"")


def test_pages_count_themselves(port: int) -> None:
    before = get(port, "/private")[1]
    after = get(port, "/private")[1]
    times = [int(body.rpartition(b"made this page ")[2].partition(b" ")[0]) for body in (before, after)]
    assert times[1] == times[0] + 1


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "cluster.demo", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert (
        done.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port\n"
    )


def test_it_ends_with_the_process_that_started_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        script = (
            "import os, subprocess, sys, time\n"
            "command = [sys.executable, '-m', 'cluster.demo', '--parent', str(os.getpid())]\n"
            f"fd = {listening.fileno()}\n"
            "subprocess.Popen([*command, '--fd', str(fd)], pass_fds=[fd])\n"
            "time.sleep(600)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", script], pass_fds=[listening.fileno()])
    try:
        get(address[1], "/page")  # it serves
    finally:
        parent.kill()
        parent.wait(timeout=60)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(address, timeout=60).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("the demo origin outlived its parent")
