"""What answers must not show."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from cluster.config.values import Expects, LeakKind, Many, Section, Size
from worker.settings import LeakSettings

_Mode = Literal["off", "log", "mask", "replace"]
_leaks = LeakSettings("log")


class Leaks(Section):
    """What becomes of answers of the origin that have what nobody should see. A mode alone is short for
    `{mode: ...}`."""

    mode: _Mode = Field(
        description="Leave answers as they are, log leaks, overwrite them too, or send an error instead.",
    )
    kinds: Many[LeakKind] = Field(
        default=list(_leaks.kinds), description="What is looked for; all of it when not given."
    )
    limit: Size = Field(default=_leaks.limit_bytes, description="How much of a body is looked at.")
    hold: Size = Field(
        default=_leaks.hold_bytes,
        description="With replace: how much of a body is looked at before its first byte is sent.",
    )
    status: Annotated[int, Field(ge=400, le=599), Expects("a status from 400 to 599")] = Field(
        default=_leaks.status, description="With replace: the status of the error."
    )

    short_hand: ClassVar = {"enum": [*get_args(_Mode), False]}
    short_words: ClassVar = "off, log, mask, replace"

    @classmethod
    def expand(cls, value: object) -> object:
        return {"mode": "off" if value is False else value}
