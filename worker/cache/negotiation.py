"""What clients prefer, reduced to what is served here, so that they share stored variants.

Accept-Encoding always is, Accept-Language where the route names its languages. What is reduced is also what
the origin is asked, so a stored variant suits everyone who has its key; all other fields count as sent.
"""

from collections.abc import Sequence

from worker.fields import ACCEPT_ENCODING, Fields

_REMEMBERED = 4096  # values whose reduction is remembered: clients choose them, so they are bounded

ENCODING = b"accept-encoding"
LANGUAGE = b"accept-language"


class Negotiation:
    """`codings` and `languages` are those the route serves, the preferred first; no languages: as sent."""

    def __init__(self, codings: Sequence[str], languages: Sequence[str] = ()) -> None:
        self.codings = Codings(codings)
        self._languages = Languages(languages) if languages else None

    def value(self, name: bytes, fields: Fields) -> bytes | None:
        """The value that counts of the request field `name`; None if it is absent and counts as sent."""
        if name == ENCODING:
            return self.codings.reduce(fields)
        if name == LANGUAGE and self._languages is not None:
            return self._languages.reduce(fields)
        return fields.joined(name)

    def asked(self, fields: Fields) -> tuple[Fields | None, tuple[bytes, ...]]:
        """What the origin is asked in place of what the client sent: fields to add, names to drop."""
        lines = b""
        dropped: tuple[bytes, ...] = ()
        if fields.mask & ACCEPT_ENCODING:
            reduced = self.codings.reduce(fields)
            if reduced != fields.joined(ENCODING):
                dropped = (ENCODING,)
                lines = b"Accept-Encoding: %b\r\n" % reduced if reduced else b""
        if self._languages is not None:
            sent, language = fields.joined(LANGUAGE), self._languages.reduce(fields)
            if sent is not None and language != sent:
                dropped += (LANGUAGE,)
                lines += b"Accept-Language: %b\r\n" % language if language else b""
        return Fields.trusted(lines) if lines else None, dropped


class Codings:
    """Accept-Encoding reduced to the codings we serve, so that browsers share variants.

    `served` is in our order of preference. Codings no client can get from here (deflate, compress...) do
    not split the cache.
    """

    def __init__(self, served: Sequence[str]) -> None:
        self.served = tuple(name.encode("ascii").lower() for name in served)
        self._reduced: dict[bytes, bytes] = {}

    def reduce(self, fields: Fields) -> bytes:
        """The acceptable ones of our codings, best first, as a field value; b"" asks for identity."""
        value = fields.joined(b"accept-encoding")
        if value is None:
            return b""
        reduced = self._reduced.get(value)
        if reduced is None:
            if len(self._reduced) >= _REMEMBERED:
                self._reduced.clear()
            reduced = self._reduced[value] = self._reduce(value)
        return reduced

    def _reduce(self, value: bytes) -> bytes:
        qualities = _qualities(value)
        anything = qualities.get(b"*")
        identity = qualities.get(b"identity", 0.0 if anything == 0 else None)
        acceptable: list[tuple[float, int, bytes]] = []
        for order, name in enumerate(self.served):
            quality = qualities.get(name, anything)
            # A coding the client likes less than no coding at all is not worth a variant.
            if quality and quality >= (identity or 0):
                acceptable.append((-quality, order, name))
        names = [name for _, _, name in sorted(acceptable)]
        if identity == 0:
            names.append(b"identity;q=0")
        return b", ".join(names)


class Languages:
    """Accept-Language reduced to the one language served that suits best (RFC 4647 3.4, lookup).

    A client's ranges are tried from the best-liked on, each made shorter from its end until it is a language
    served: de-CH gets de. What is not acceptable (q=0) is not chosen.
    """

    def __init__(self, served: Sequence[str]) -> None:
        self._served = {tag.lower().encode("ascii"): tag.encode("ascii") for tag in served}
        self._reduced: dict[bytes, bytes] = {}

    def reduce(self, fields: Fields) -> bytes:
        """One of the languages served, as the route spells it; b"" where none suits: the origin's default."""
        value = fields.joined(LANGUAGE)
        if value is None:
            return b""
        reduced = self._reduced.get(value)
        if reduced is None:
            if len(self._reduced) >= _REMEMBERED:
                self._reduced.clear()
            reduced = self._reduced[value] = self._look_up(_qualities(value))
        return reduced

    def _look_up(self, qualities: dict[bytes, float]) -> bytes:
        for wanted in sorted(qualities, key=lambda name: -qualities[name]):  # stable: ties as listed
            if not qualities[wanted]:
                break
            while wanted:
                if wanted in self._served and qualities.get(wanted) != 0:
                    return self._served[wanted]
                wanted = _shortened(wanted)
        return b""


def _shortened(wanted: bytes) -> bytes:
    """A range without its last subtag, nor a single letter before that; b"" when there is nothing left."""
    subtags = wanted.split(b"-")[:-1]
    if subtags and len(subtags[-1]) == 1:
        subtags.pop()
    return b"-".join(subtags)


def _qualities(value: bytes) -> dict[bytes, float]:
    """Name -> q-value, as listed (RFC 9110 12.4.2); an unreadable q-value counts as 0, not acceptable."""
    qualities: dict[bytes, float] = {}
    for part in value.lower().split(b","):
        name, *parameters = (piece.strip() for piece in part.split(b";"))
        if not name:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    quality = min(max(float(parameter[2:]), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        qualities[b"gzip" if name == b"x-gzip" else name] = quality  # RFC 9110 8.4.1.3
    return qualities
