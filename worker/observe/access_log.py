"""Observer: the access log of one worker, buffered, written in whole lines.

Knows files, pipes and how they fail; what a line says is `log_line`'s business.
"""

import os
import socket
import stat
from collections.abc import Callable
from select import PIPE_BUF

from worker.context import Context
from worker.observe.log_line import line_format
from worker.settings import LogSettings

FLUSH_BYTES = 64 * 1024  # buffered before it is written without being asked
KEEP_BYTES = 1024 * 1024  # kept while nothing can be written; older lines are lost beyond that

_STDOUT = 1


class AccessLog:
    """Writes a line per finished request; `lost(n)` is told how many lines could not be kept.

    Call `flush` from the worker's clock (every second or so), `reopen` after a log rotation (SIGUSR1),
    `close` at the end. Workers share a file without tearing each other's lines, because every write(2)
    carries complete lines to a descriptor that appends. To a pipe or socket it carries at most PIPE_BUF
    bytes, which are taken whole or not at all, and its reader is never waited for.
    """

    def __init__(self, settings: LogSettings, lost: Callable[[int], None]) -> None:
        """Raises OSError when the file cannot be opened, ValueError for a format that does not exist."""
        self._path = settings.path
        self._line = line_format(settings.format)
        self._lost = lost
        self._lines: list[bytes] = []
        self._bytes = 0
        self._flush_at = FLUSH_BYTES
        self._sink: _Sink | None = _open(self._path) if self._path else None
        self._longest = self._sink.longest if self._sink is not None else 0

    def __call__(self, ctx: Context) -> None:
        if self._sink is None:
            return
        line = self._line(ctx)
        size = len(line)
        if size > self._longest:
            line = self._line.shortened(ctx)
            size = len(line)
        self._lines.append(line)
        self._bytes += size
        if self._bytes >= self._flush_at:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered. What cannot be written now is kept for the next time, up to KEEP_BYTES."""
        if self._sink is None or not self._lines:
            return
        lines = self._sink.write(self._lines)
        size = sum(map(len, lines))
        dropped = 0
        while size > KEEP_BYTES:
            size -= len(lines[dropped])
            dropped += 1
        if dropped:
            self._lost(dropped)
        self._lines, self._bytes = lines[dropped:], size
        self._flush_at = size + FLUSH_BYTES  # do not try again with every line while it fails

    def reopen(self) -> None:
        """Write what is buffered to the old file, then open the path anew.

        Raises OSError when that fails; the old file then stays in use.
        """
        self.flush()
        if self._sink is not None and self._path != "-":
            old, self._sink = self._sink, _open(self._path)
            self._longest = self._sink.longest
            old.close()

    def close(self) -> None:
        """Write what is buffered and close; what cannot be written is lost, and counted. Idempotent."""
        if self._sink is None:
            return
        self.flush()
        if self._lines:
            self._lost(len(self._lines))
            self._lines = []
        self._sink.close()
        self._sink = None


class _Sink:
    """A regular file, or a device."""

    longest = 1 << 30  # bytes a line may have

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, lines: list[bytes]) -> list[bytes]:
        """One write of all lines; those that did not get in whole are given back."""
        data = b"".join(lines)
        try:
            written = os.write(self._fd, data)
        except OSError:  # disk full, size limit, quota, a stopped terminal
            return lines
        if written == len(data):
            return []
        whole = data.rfind(b"\n", 0, written) + 1
        rest = data[whole:] if self._take_back(written - whole) else data[written:]
        return rest.splitlines(keepends=True)

    def _take_back(self, torn: int) -> bool:
        """Cut the `torn` bytes of an unfinished line off the end of the file; whether that was possible.

        A short write means there is no room, so nobody else can have appended behind it. Should somebody
        have done so after all, the file is longer than our position and is left alone.
        """
        state = os.fstat(self._fd)
        if not stat.S_ISREG(state.st_mode):
            return False
        end = os.lseek(self._fd, 0, os.SEEK_CUR)
        if state.st_size != end:
            return False
        os.ftruncate(self._fd, end - torn)
        os.lseek(self._fd, end - torn, os.SEEK_SET)
        return True

    def close(self) -> None:
        os.close(self._fd)


class _Pipe(_Sink):
    """A pipe: whole lines in groups of at most PIPE_BUF bytes, which pipe(7) takes whole or not at all."""

    longest = PIPE_BUF

    def write(self, lines: list[bytes]) -> list[bytes]:
        at = 0
        while at < len(lines):
            end, size = at + 1, len(lines[at])
            while end < len(lines) and size + len(lines[end]) <= PIPE_BUF:
                size += len(lines[end])
                end += 1
            try:
                self._send(b"".join(lines[at:end]))
            except OSError:  # the reader is slow or gone
                break
            at = end
        return lines[at:]

    def _send(self, group: bytes) -> None:
        os.write(self._fd, group)


class _Socket(_Pipe):
    """A Unix stream socket, as systemd gives for standard output: small pieces are taken whole as well."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._socket = socket.socket(fileno=fd)

    def _send(self, group: bytes) -> None:
        self._socket.send(group, socket.MSG_DONTWAIT)

    def close(self) -> None:
        self._socket.close()


def _open(path: str) -> _Sink:
    if path == "-":
        fd = _standard_output()
    else:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return _Pipe(fd)
    if stat.S_ISSOCK(mode):
        return _Socket(fd)
    return _Sink(fd)


def _standard_output() -> int:
    """A descriptor of our own for standard output; for a pipe or terminal one that never blocks.

    O_NONBLOCK belongs to the open file, which we share with the shell and with our other processes, so it
    is opened a second time through /proc. A regular file is not: other writers share its position, and a
    second opening would write over what they write.
    """
    mode = os.fstat(_STDOUT).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open("/proc/self/fd/1", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError:  # no /proc, or not our terminal any more after a change of user
            pass
    return os.dup(_STDOUT)
