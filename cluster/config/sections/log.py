"""The access log."""

from typing import Annotated, Literal

from pydantic import Field

from cluster.config.values import Expects, Section
from worker.settings import LogSettings


class Log(Section):
    """The access log."""

    path: Annotated[str, Expects('the path of a file, "-" for standard output, "" for none')] = Field(
        default=LogSettings().path, description='File to append to; "-" is standard output, "" is none.'
    )
    format: Literal["json", "combined"] = Field(
        default="json", description="One JSON object per line, or the combined format of Apache and nginx."
    )
