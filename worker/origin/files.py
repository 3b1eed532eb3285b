"""Files below a directory: opened without ever leaving it, read outside the event loop.

The kernel keeps us inside (openat2 with RESOLVE_BENEATH): whatever a name says and whatever is renamed
meanwhile, a symbolic link or ".." that leads out of the directory ends in an error. Knows no HTTP.
"""

import ctypes
import errno
import os
import stat
import struct
from asyncio import wrap_future
from concurrent.futures import Executor, Future

from worker.errors import EdgeError
from worker.fields import Fields
from worker.reasons import Fault, Side

PIECE_BYTES = 256 * 1024  # read at once

_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
# A FIFO without a writer would block for ever, a terminal would become ours.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_HOW = struct.pack("QQQ", _FLAGS, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
_RACES = 8  # renames under way for which it is tried again

_openat2 = ctypes.CDLL(None, use_errno=True).syscall
_openat2.restype = ctypes.c_long
_openat2.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)


class File:
    """A regular file, open until `close`."""

    __slots__ = ("fd", "inode", "modified_ns", "name", "size")

    def __init__(self, name: bytes, fd: int, status: os.stat_result) -> None:
        self.name = name
        self.fd = fd
        self.size = status.st_size
        self.modified_ns = status.st_mtime_ns
        self.inode = status.st_ino

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`. Raises OSError, and EdgeError if they are no longer there."""
        pieces = []
        while start < stop:
            piece = os.pread(self.fd, stop - start, start)
            if not piece:
                raise EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE, "the file became shorter meanwhile")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_directory(path: str) -> int:
    """A descriptor to begin from. Asked for anew each time: the path may be a link that a release moves."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_below(directory: int, name: bytes) -> File | None:
    """The file of that relative name, None if it is a directory. Raises OSError; EXDEV for a way out."""
    fd = _open_beneath(directory, name)
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            file = File(name, fd, status)
            fd = -1
            return file
        if stat.S_ISDIR(status.st_mode):
            return None
        raise FileNotFoundError(errno.ENOENT, "neither a file nor a directory")
    finally:
        if fd >= 0:
            os.close(fd)


def _open_beneath(directory: int, name: bytes) -> int:
    if b"\0" in name:  # would end the name for the kernel
        raise OSError(errno.EINVAL, "a NUL in a name")
    for _ in range(_RACES):
        fd: int = _openat2(_OPENAT2, directory, name, _HOW, len(_HOW))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number))


class FileBody:
    """The bytes of a file from `start` up to `stop`; implements worker.message.Stream and owns the file."""

    def __init__(self, file: File, readers: Executor, start: int, stop: int) -> None:
        self.length: int | None = stop - start
        self.trailers: Fields | None = None
        self._file = file
        self._readers = readers
        self._at = start
        self._stop = stop
        self._reading: Future[bytes] | None = None

    def skip(self, count: int) -> None:
        """Leave out the next `count` bytes."""
        self._at = min(self._at + count, self._stop)

    async def read(self) -> bytes:
        """The next piece. Raises EdgeError when the file has become shorter, or cannot be read."""
        stop = min(self._stop, self._at + PIECE_BYTES)
        if self._at == stop or self._file.fd < 0:
            return b""
        self._reading = self._readers.submit(self._file.read, self._at, stop)
        try:
            piece = await wrap_future(self._reading)
        except OSError as error:
            raise EdgeError(502, Side.ORIGIN, Fault.INCOMPLETE, f"reading failed: {error.strerror}") from None
        self._at = stop
        return piece

    def close(self) -> None:
        """Close the file; not while a thread reads from it, or another file could get its number."""
        if self._reading is None:
            self._file.close()
        else:
            self._reading.add_done_callback(lambda ended: self._file.close())
