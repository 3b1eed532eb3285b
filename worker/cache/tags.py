"""Tags: the labels an origin gives its responses, so that all that carry one can be purged at once.

They come in `Cache-Tag` (commas), `Surrogate-Key` (spaces) and `xkey` (either), in any number of lines, and
mean the edge alone: no client sees these fields. A tag is taken as spelled, upper and lower case apart.
"""

from worker.context import Context
from worker.fields import Fields
from worker.message import Response

MAX_TAGS = 1024  # of one response; four bytes each in the segment
MAX_TAG_BYTES = 16 * 1024  # all of them together

FIELDS = (b"cache-tag", b"surrogate-key", b"xkey")


def tags_of(fields: Fields) -> tuple[bytes, ...] | None:
    """The tags of a response, each once, in order; None if there are more than the edge keeps.

    What cannot keep all of its tags must not be stored: a purge by the one left out would miss it.
    """
    tags: dict[bytes, None] = {}
    for name, value in tag_lines(fields):
        if name == b"cache-tag":
            parts = [part.strip() for part in value.split(b",")]
        else:
            parts = (value if name == b"surrogate-key" else value.replace(b",", b" ")).split()
        tags.update(dict.fromkeys(filter(None, parts)))
    if len(tags) > MAX_TAGS or sum(map(len, tags)) > MAX_TAG_BYTES:
        return None
    return tuple(tags)


def tag_lines(fields: Fields) -> list[tuple[bytes, bytes]]:
    """The lines that name tags, lower-case."""
    return [(name, value) for name in FIELDS for value in fields.get_all(name)]


def drop_tags(ctx: Context, response: Response) -> None:
    """Store filter: no client, and no cache behind us, gets to see the tags."""
    response.fields.remove(*FIELDS)


def url_tag(key: bytes) -> bytes:
    """A tag that everything stored for the URL of this key carries, unless it lies under that URL alone.

    Begins with NUL, which no field can hold, so that no origin can give it.
    """
    return b"\0" + key.partition(b"\0")[0]
