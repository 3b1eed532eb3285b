"""Many datagrams per system call: recvmmsg, sendmmsg, and UDP_SEGMENT (GSO) for runs to one peer."""

from socket import socket

from worker.protocol.quic.link import Address

class UdpPort:
    """A bound UDP socket as a `port.Port`. It belongs to the caller and must outlive this object.

    On a socket bound to a wildcard address, answers leave from the address that the peer had asked:
    `receive` keeps that by peer, for `send`. A link-local IPv6 host carries its scope ("fe80::1%2").
    """

    def __init__(self, sock: socket) -> None: ...
    def fileno(self) -> int: ...
    def receive(self) -> list[tuple[bytes, Address]]:
        """Up to 64 datagrams and who sent them; [] when there is none. One larger than 2048 bytes is dropped.

        Never waits. Raises OSError when the socket itself is broken.
        """
    def send(self, datagrams: list[tuple[bytes, Address]]) -> int:
        """Send them in order; how many are left for when the socket can be written again.

        Never waits. What the kernel will not send to a peer (no route, forbidden, too large) is lost, as
        on the way. Raises ValueError for a host that is no numeric address.
        """
    @property
    def received(self) -> int:
        """Datagrams so far, those that were dropped included."""
    @property
    def sent(self) -> int:
        """Datagrams the kernel has taken so far."""
    @property
    def segments(self) -> bool:
        """Runs of equal size to one peer go to the kernel as one piece (UDP_SEGMENT)."""
