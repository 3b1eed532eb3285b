"""Compression of answers."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cluster.config.values import Expects, Section, SizeOrZero
from worker.settings import CompressionSettings

_compression = CompressionSettings()
_Coding = Literal["zstd", "br", "gzip"]


class Compression(Section):
    """Compression of a route's answers. `false` is short for `{codings: []}`."""

    codings: list[_Coding] = Field(
        default=["zstd", "br", "gzip"],
        description="Codings to offer, the preferred one first; empty for none.",
    )
    min_size: SizeOrZero = Field(
        default=_compression.min_bytes, description="Smaller bodies are left as they are."
    )
    quality: Annotated[int, Field(ge=1, le=9), Expects("a whole number from 1 to 9")] = Field(
        default=_compression.quality, description="1 is fastest, 9 is smallest."
    )

    short_hand: ClassVar = {"type": "boolean"}
    short_words: ClassVar = "true, false"

    @classmethod
    def expand(cls, value: object) -> object:
        if isinstance(value, bool):
            return {} if value else {"codings": []}
        return value
