"""The origin of all proxies: answers `/PROXY/SCRIPT` by the step that the request names, and remembers it."""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from tests.differential.script import (
    SERVED_FIELD,
    STEP_FIELD,
    VALIDATED_FIELD,
    Line,
    Script,
    body_of,
    joined,
    rendered,
)
from tests.support.scripted_origin import Recorded

_REASONS = {200: "OK", 206: "Partial Content", 304: "Not Modified", 416: "Range Not Satisfiable"}
_KEPT_IN_304 = {
    "cache-control",
    "cdn-cache-control",
    "expires",
    "date",
    "etag",
    "last-modified",
    "vary",
    "age",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One answer of the origin."""

    step: int
    method: str
    status: int
    fields: tuple[Line, ...]
    at_s: float  # monotonic
    asked: dict[str, str]  # the request's fields as the proxy sent them


class Origin:
    """The handler of a ScriptedOrigin. Scripts are found by number."""

    def __init__(self) -> None:
        self._scripts: list[Script] = []
        self._exchanges: dict[str, list[Exchange]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, scripts: Sequence[Script]) -> int:
        """Answer for these, too; the number of the first."""
        first = len(self._scripts)
        self._scripts += scripts
        return first

    def forget(self) -> None:
        """What was asked so far is not needed any more."""
        with self._lock:
            self._exchanges.clear()

    def exchanges(self, path: str) -> list[Exchange]:
        """What it was asked for `path` so far, in order."""
        with self._lock:
            return list(self._exchanges[path])

    def __call__(self, request: Recorded) -> bytes:
        number = int(request.target.rpartition("/")[2])
        step = int(request.headers[STEP_FIELD.lower()])
        told = self._scripts[number][step].told
        fields = rendered(told.fields, time.time())
        status, body = told.status, body_of(step)
        if request.method in ("GET", "HEAD") and status == 200:
            if _not_modified(request.headers, fields):
                status, body = 304, b""
                fields = tuple((name, value) for name, value in fields if name.lower() in _KEPT_IN_304)
            elif request.method == "GET" and (part := _part(request.headers, fields, len(body))):
                status, extra = 206, ("Content-Range", f"bytes {part[0]}-{part[1] - 1}/{len(body)}")
                fields, body = (*fields, extra), body[part[0] : part[1]]
        fields = (*fields, (VALIDATED_FIELD if status == 304 else SERVED_FIELD, str(step)))
        with self._lock:
            self._exchanges[request.target].append(
                Exchange(step, request.method, status, fields, time.monotonic(), request.headers)
            )
        return _on_the_wire(request.method, status, fields, body)


def _on_the_wire(method: str, status: int, fields: tuple[Line, ...], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Whatever')}", *(f"{n}: {v}" for n, v in fields)]
    if status not in (204, 304):
        lines += ["Content-Type: application/octet-stream", f"Content-Length: {len(body)}"]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if method == "HEAD" or status in (204, 304) else head + body


def _not_modified(asked: dict[str, str], fields: tuple[Line, ...]) -> bool:
    etag, modified = joined(fields, "etag"), joined(fields, "last-modified")
    if "if-none-match" in asked:
        tags = [tag.strip().removeprefix("W/") for tag in asked["if-none-match"].split(",")]
        return etag is not None and (etag.removeprefix("W/") in tags or "*" in tags)
    if "if-modified-since" in asked and modified is not None:
        try:
            return parsedate_to_datetime(modified) <= parsedate_to_datetime(asked["if-modified-since"])
        except (ValueError, TypeError):
            return False
    return False


def _part(asked: dict[str, str], fields: tuple[Line, ...], size: int) -> tuple[int, int] | None:
    """Start and end of a single satisfiable range; None for the whole body."""
    unit, _, spec = asked.get("range", "").partition("=")
    first, _, last = spec.partition("-")
    wanted = asked.get("if-range")
    if unit != "bytes" or (
        wanted is not None and (wanted != joined(fields, "etag") or wanted.startswith("W/"))
    ):
        return None
    if not first:
        return max(0, size - int(last)), size
    start, end = int(first), min(int(last) + 1 if last else size, size)
    return (start, end) if start < end else None
