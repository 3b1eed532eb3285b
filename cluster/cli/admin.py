"""Talking to a running edge: the supervisor's socket, and HTTP over the control process's Unix socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from cluster import wire
from cluster.errors import BootError
from cluster.lock import admin_socket, supervisor_socket

ADMIN_S = 30.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float = ADMIN_S) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask_supervisor(state_dir: Path, verb: str, *, timeout_s: float = 10.0) -> dict[str, Any]:
    """The supervisor's answer. BootError when none runs, when it does not answer, or when it refuses."""
    try:
        answer = wire.call(supervisor_socket(state_dir), verb, timeout_s=timeout_s)
    except wire.NotRunning:
        raise not_running(state_dir) from None
    except wire.WireError as error:
        raise BootError(str(error)) from None
    if not answer.get("ok"):
        raise BootError(f"{verb} failed: {answer.get('error') or 'no reason given'}")
    return answer


def ask_admin(
    state_dir: Path, method: str, target: str, body: object = None, *, timeout_s: float = ADMIN_S
) -> dict[str, Any]:
    """The control process's JSON answer. BootError as in `ask_supervisor`."""
    path = admin_socket(state_dir)
    connection = UnixConnection(path, timeout_s)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, target, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (FileNotFoundError, ConnectionRefusedError):
        ask_supervisor(state_dir, "ping")  # says so when nothing runs at all
        raise BootError(
            f"the edge runs, but its control process does not answer on {path}: "
            "it is being restarted; try again in a moment"
        ) from None
    except ConnectionResetError:  # a reload replaced it, with our request not read yet
        raise BootError(
            f"the control process on {path} was being restarted before it answered; try again in a moment"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BootError(f"the control process on {path} broke off: {error}") from None
    finally:
        connection.close()
    if not answer.get("ok"):
        raise BootError(str(answer.get("error") or f"the control process answered {response.status}"))
    return answer


def not_running(state_dir: Path) -> BootError:
    """Nobody lives on that state directory."""
    return BootError(
        f"no edge is running on {state_dir}: start one with 'edgecluster start', "
        "or name its state directory with --state-dir"
    )
