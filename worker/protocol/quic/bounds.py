"""What one client, and all clients together, may make a worker hold or do by QUIC."""

from dataclasses import dataclass

from worker.settings import Limits

STREAM_BYTES = 64 * 1024  # of one stream, received and not read
WIDE_BYTES = 4 * 1024 * 1024  # of one connection, beyond that, for streams that were widened


@dataclass(frozen=True, slots=True)
class Bounds:
    """Exceeding one is an end or a drop, never memory."""

    handshakes: int = 2048  # at a time in one worker; above, nobody new is listened to
    unproven: int = 256  # of these; above, a newcomer must first show that its address is its own (Retry)
    handshake_s: float = 10.0
    idle_s: float = 65.0
    streams: int = 100  # of a client, both ways, at a time
    one_way_streams: int = 8  # HTTP/3 needs three
    stream_bytes: int = STREAM_BYTES
    connection_bytes: int = 100 * STREAM_BYTES + WIDE_BYTES
    hello_bytes: int = 16 * 1024  # of TLS, in each phase of the handshake
    costly_frames: int = 200  # resets, stops, path challenges, retired IDs: per second and connection
    datagram_bytes: int = 1232  # that we send at first: what every IPv6 path carries (RFC 8200 5)
    large_datagram_bytes: int = 1452  # that we send once one of that size has arrived: Ethernet, and IPv6
    lingering: int = 10_000  # connections that ended a moment ago
    answers: int = 1000  # per second, to packets that belong to no connection

    @classmethod
    def of(cls, limits: Limits) -> "Bounds":
        """As the operator's limits say. The protocol above ends an idle connection before QUIC does."""
        return cls(
            idle_s=limits.idle_timeout_s + 5,
            streams=limits.streams,
            connection_bytes=limits.streams * STREAM_BYTES + WIDE_BYTES,
            costly_frames=limits.resets,
        )
