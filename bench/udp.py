"""What a datagram costs the process that sends or receives it, by system call: `python -m bench.udp`.

Datagrams of QUIC's size over loopback, in batches of 64 to one peer, sender and receiver in one process, so
that each half is CPU time of its own. Loopback's own work (delivery to the receiver's queue) is in the
sender's half. One run on the 2-core machine (Linux 6.18), median of nine:

    sendto, recvfrom                     send  1704 ns, receive  1095 ns      586,965/s      913,656/s
    sendmmsg, recvmmsg                   send  1163 ns, receive   492 ns      859,700/s    2,032,668/s
    UDP_SEGMENT, recvmmsg                send   350 ns, receive   472 ns    2,856,674/s    2,119,773/s
    UDP_SEGMENT, recvmsg with UDP_GRO    send   124 ns, receive   358 ns    8,061,443/s    2,793,731/s

The last row's sender only saves what loopback does for the receiver's sake, cutting the run again. What
UDP_GRO itself saves, 0.1 us of the more than 100 us that the QUIC engine takes per datagram, is not worth a
call that brings up to 64 x 64 datagrams, which would hold the loop: `UdpPort` does without.
"""

import socket
import time
from collections.abc import Callable
from statistics import median

from worker.protocol.quic.udp import UdpPort

BATCH = 64
SIZE = 1200
ROUNDS = 400  # batches per measurement
REPEATS = 9
UDP_GRO = 104

Address = tuple[str, int]
Batch = list[tuple[bytes, Address]]


class Plain:
    """One call of the system for each datagram."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def receive(self) -> Batch:
        found: Batch = []
        try:
            while len(found) < BATCH:
                found.append(self.sock.recvfrom(2048))
        except BlockingIOError:
            pass
        return found

    def send(self, datagrams: Batch) -> int:
        for data, peer in datagrams:
            self.sock.sendto(data, peer)
        return 0


class Coalesced(Plain):
    """UDP_GRO: the kernel hands over a run as one piece, which is cut here."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)

    def receive(self) -> Batch:
        found: Batch = []
        try:
            while len(found) < BATCH:
                data, parts, _, peer = self.sock.recvmsg(65536, 64)
                size = int.from_bytes(parts[0][2], "little") if parts else len(data)
                found += [(data[begin : begin + size], peer) for begin in range(0, len(data), size)]
        except BlockingIOError:
            pass
        return found


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


def measure(send: Callable[[Batch], int], receive: Callable[[], Batch], batch: Batch) -> tuple[float, float]:
    """ns of CPU per datagram, sending and receiving."""
    sending = receiving = 0
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        send(batch)
        sent = time.process_time_ns()
        left = len(batch)
        while left > 0:
            got = len(receive())
            left -= got
            assert got
        sending += sent - begun
        receiving += time.process_time_ns() - sent
    count = ROUNDS * len(batch)
    return sending / count, receiving / count


def main() -> None:
    equal = [SIZE] * BATCH
    growing = [SIZE + place for place in range(BATCH)]  # no two make a run
    cases: list[tuple[str, type, type, list[int]]] = [
        ("sendto, recvfrom", Plain, Plain, equal),
        ("sendmmsg, recvmmsg", UdpPort, UdpPort, growing),
        ("UDP_SEGMENT, recvmmsg", UdpPort, UdpPort, equal),
        ("UDP_SEGMENT, recvmsg with UDP_GRO", UdpPort, Coalesced, equal),
    ]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name, *_ in cases}
    for _ in range(REPEATS):
        for name, sender, receiver, sizes in cases:
            with bound() as ours, bound() as theirs:
                peer = theirs.getsockname()
                batch = [(bytes(size), peer) for size in sizes]
                results[name].append(measure(sender(ours).send, receiver(theirs).receive, batch))
    for name, found in results.items():
        send, receive = (median(half) for half in zip(*found, strict=True))
        rates = f"{1e9 / send:12,.0f}/s {1e9 / receive:12,.0f}/s"
        print(f"{name:36} send {send:5.0f} ns, receive {receive:5.0f} ns {rates}")


if __name__ == "__main__":
    main()
