"""The origin stage of a directory on this machine: GET and HEAD of its files.

Gives validators and no lifetime: how long a file is fresh is for the route's cache rules to say. Names that
begin with a dot are not served, but for /.well-known/.
"""

import errno
import os
from asyncio import CancelledError, wrap_future
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import formatdate
from http import HTTPStatus
from time import monotonic_ns
from urllib.parse import unquote_to_bytes

from worker.context import Context
from worker.errors import EdgeError
from worker.fields import Fields
from worker.message import Body, Response
from worker.origin.files import PIECE_BYTES, File, FileBody, open_below, open_directory
from worker.origin.media_types import media_type
from worker.origin.preconditions import byte_range, refused
from worker.reasons import Fault, Side
from worker.settings import DirectorySettings

THREADS = 8  # per directory: what may wait for its disk at once

_HIDDEN = b"."
_PUBLIC = b".well-known"  # RFC 8615
_ALLOW = b"Allow: GET, HEAD\r\n"
_NOT_THERE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EXDEV, errno.EINVAL, errno.ENXIO}
)
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class DirectoryFetch:
    """`pipeline.Fetch` for one directory."""

    def __init__(self, settings: DirectorySettings) -> None:
        self.url = "file://" + settings.path
        self._path = settings.path
        self._index = tuple(os.fsencode(name) for name in settings.index)
        self._readers = ThreadPoolExecutor(THREADS, "directory")

    async def __call__(
        self,
        ctx: Context,
        extra: Fields | None = None,
        drop: tuple[bytes, ...] = (),
        method: bytes | None = None,
        with_body: bool = True,
    ) -> Response:
        """The answer for ctx.request, or for its rewritten target; arguments as those of `OriginFetch`.

        Raises EdgeError when the directory or its disk fails: what is not there is a 404.
        """
        request = ctx.request
        fields = request.fields
        if drop or extra is not None:
            kept = fields.encode_without(drop)
            fields = Fields.trusted(kept if extra is None else kept + extra.encode())
        target = ctx.origin_target
        path, query = request.path, request.query
        if target is not None:
            path, mark, rest = target.partition(b"?")
            query = rest if mark else None
        ctx.origin = self.url
        started_ns = monotonic_ns()
        response = await self._in_thread(method or request.method, path, query, fields)
        ctx.first_byte_ns = monotonic_ns() - started_ns
        ctx.forwarded_status = response.status
        return response

    def sweep(self, now_ns: int) -> None:
        """Nothing here times out."""

    def close(self) -> None:
        """The threads end when they have nothing left to do."""
        self._readers.shutdown(wait=False)

    async def wait_closed(self) -> None:
        """Nothing to wait for: a thread that is stuck on its disk must not hold up the drain."""

    async def _in_thread(self, method: bytes, path: bytes, query: bytes | None, fields: Fields) -> Response:
        if method not in (b"GET", b"HEAD"):
            return _plain(405, _ALLOW)
        work = self._readers.submit(self._answer, method, path, query, fields)
        try:
            return await wrap_future(work)
        except CancelledError:
            work.add_done_callback(_discard)
            raise
        except OSError as error:
            return _failure(error)

    def _answer(self, method: bytes, path: bytes, query: bytes | None, fields: Fields) -> Response:
        """Everything that touches the disk, in one of the threads. Raises OSError and EdgeError."""
        name = _file_name(path)
        if name is None:
            return _plain(404)
        try:
            directory = open_directory(self._path)
        except OSError as error:
            raise _unavailable(error) from None
        try:
            file = self._open(directory, name)
        finally:
            os.close(directory)
        if file is None:  # a directory asked for without the slash behind it
            location = path + b"/" if query is None else path + b"/?" + query
            return Response(301, Fields.trusted(b"Location: %b\r\n" % location), None, 0)
        try:
            response = self._represent(method, file, fields)
        except BaseException:
            file.close()
            raise
        if not isinstance(response.body, FileBody):
            file.close()
        return response

    def _open(self, directory: int, name: bytes) -> File | None:
        if name and not name.endswith(b"/"):
            return open_below(directory, name)
        for index in self._index:
            try:
                file = open_below(directory, name + index)
            except FileNotFoundError:
                continue
            if file is not None:
                return file
        raise FileNotFoundError(errno.ENOENT, "a directory without an index file")

    def _represent(self, method: bytes, file: File, fields: Fields) -> Response:
        """The answer of an open file to what is asked about it."""
        etag = b'"%x-%x-%x"' % (file.modified_ns, file.size, file.inode)
        modified_s = file.modified_ns // 1_000_000_000
        last_modified = formatdate(modified_s, usegmt=True).encode("ascii")
        validators = b"ETag: %b\r\nLast-Modified: %b\r\n" % (etag, last_modified)
        status = refused(fields, etag, modified_s)
        if status == 304:
            return Response(304, Fields.trusted(validators), None, None)
        if status == 412:
            return _plain(412)
        size = file.size
        kind = media_type(os.fsdecode(file.name)).encode("ascii")
        lines = b"Content-Type: %b\r\n%bAccept-Ranges: bytes\r\n" % (kind, validators)
        if method == b"HEAD":
            return Response(200, Fields.trusted(lines), None, size)
        part = byte_range(fields, etag, size)
        if part is None:
            return Response(200, Fields.trusted(lines), self._body(file, 0, size), size)
        start, stop = part
        if start >= stop:
            return _plain(416, b"Content-Range: bytes */%d\r\n" % size)
        lines += b"Content-Range: bytes %d-%d/%d\r\n" % (start, stop - 1, size)
        return Response(206, Fields.trusted(lines), self._body(file, start, stop), stop - start)

    def _body(self, file: File, start: int, stop: int) -> Body:
        if stop - start <= PIECE_BYTES:
            return file.read(start, stop)
        return FileBody(file, self._readers, start, stop)


def _file_name(path: bytes) -> bytes | None:
    """The relative name of a file that a path in normal form asks for; None if it can be none we serve."""
    segments = [unquote_to_bytes(segment) for segment in path.split(b"/")]
    if segments[0] != b"" or len(segments) < 2:  # OPTIONS *
        return None
    segments = segments[1:]
    for position, segment in enumerate(segments):
        if b"/" in segment:
            return None
        if segment.startswith(_HIDDEN) and (position or segment != _PUBLIC):
            return None
        if not segment and position < len(segments) - 1:
            return None
    return b"/".join(segments)


def _plain(status: int, lines: bytes = b"") -> Response:
    """An answer without a file."""
    body = b"%d %b\n" % (status, HTTPStatus(status).phrase.encode("ascii"))
    return Response(
        status, Fields.trusted(b"Content-Type: text/plain; charset=utf-8\r\n" + lines), body, len(body)
    )


def _failure(error: OSError) -> Response:
    """The answer for a file that cannot be opened; raises EdgeError where it is not the file's fault."""
    if error.errno in _NOT_THERE:
        return _plain(404)
    if error.errno in (errno.EACCES, errno.EPERM):
        return _plain(403)
    raise _unavailable(error) from None


def _unavailable(error: OSError) -> EdgeError:
    detail = f"{error.filename or 'a file'}: {error.strerror}"
    if error.errno in _NO_DESCRIPTORS:
        return EdgeError(503, Side.EDGE, Fault.OVERLOAD, detail)
    return EdgeError(502, Side.ORIGIN, Fault.UNAVAILABLE, detail)


def _discard(ended: "Future[Response]") -> None:
    """Close the file of an answer that nobody waits for any more."""
    if not ended.cancelled() and ended.exception() is None:
        body = ended.result().body
        if isinstance(body, FileBody):
            body.close()
