"""HTTP/2 towards clients."""

from typing import ClassVar

from pydantic import Field

from cluster.config.values import Flag, Section
from worker.settings import WorkerSettings

_worker = WorkerSettings((), ())


class Http2(Section):
    """HTTP/2 towards clients. `true` and `false` are short for `{tls: true}` and `{tls: false}`."""

    tls: Flag = Field(default=_worker.http2, description="On https listeners, to clients that offer it.")
    plain: Flag = Field(
        default=_worker.http2_plain,
        description="On http listeners, to clients that begin with it (prior knowledge).",
    )

    short_key: ClassVar = "tls"
    short_types: ClassVar = (bool,)
    short_hand: ClassVar = {"type": "boolean"}
    short_words: ClassVar = "true, false"
