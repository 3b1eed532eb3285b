"""Bounds on what one client may send or hold."""

from pydantic import Field

from cluster.config.values import Count, CountOrZero, Duration, Rate, Section, Size, SizeOrZero
from worker.settings import Limits

_limits = Limits()


class LimitsSection(Section):
    """Bounds on what one client may send or hold."""

    request_line: Size = Field(
        default=_limits.request_line_bytes, description="Longest request line; 414 above."
    )
    header: Size = Field(default=_limits.header_bytes, description="Largest header section; 431 above.")
    header_count: Count = Field(default=_limits.header_count, description="Most header fields; 431 above.")
    body: Size = Field(default=_limits.body_bytes, description="Largest request body; 413 above.")
    header_timeout: Duration = Field(
        default=_limits.header_timeout_s,
        description="First byte (of the first request: connection) to end of the header section; 408 after.",
    )
    body_timeout: Duration = Field(
        default=_limits.body_timeout_s, description="Between two pieces of a request body; 408 after."
    )
    idle_timeout: Duration = Field(
        default=_limits.idle_timeout_s, description="Between two requests of a connection; closed after."
    )
    send_timeout: Duration = Field(
        default=_limits.send_timeout_s,
        description="While a client takes no byte of its answer; closed after.",
    )
    requests_per_connection: Count = Field(
        default=_limits.requests_per_connection, description="Requests before a connection is closed."
    )
    pipelined: Count = Field(default=_limits.pipelined, description="Requests read ahead on one connection.")
    connections: Count = Field(
        default=_limits.connections,
        description="Open connections per worker; above, idle and slow ones are closed for new ones.",
    )
    streams: Count = Field(
        default=_limits.streams, description="HTTP/2 requests at a time on one connection."
    )
    resets: Count = Field(
        default=_limits.resets,
        description="HTTP/2 streams reset per second and connection; closed above.",
    )
    empty_frames: Count = Field(
        default=_limits.empty_frames,
        description="HTTP/2 frames with neither request nor data per second and connection; closed above.",
    )
    body_rate: SizeOrZero = Field(
        default=_limits.body_rate,
        description="Least bytes per second of a body, over any body_timeout; 408 below. 0: any.",
    )
    send_rate: SizeOrZero = Field(
        default=_limits.send_rate,
        description="Least bytes per second a client takes, over any send_timeout; closed below. 0: any.",
    )
    connections_per_address: CountOrZero = Field(
        default=0,
        description="Open connections of one address, of IPv6 a /64, in all workers; closed above. 0: any.",
    )
    connection_rate: Rate | None = Field(
        default=None, description="New connections of one address over time, such as 20/s; closed above."
    )
    connection_burst: Count | None = Field(
        default=None, description="New ones that may come at once; one second's worth when not given."
    )
    requests_per_address: CountOrZero = Field(
        default=0, description="Requests of one address under way at once, in all workers; 429 above. 0: any."
    )
